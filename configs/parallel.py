"""Your own sentences: parallel files as the original's data script writes them.

    python launch/study.py --config=configs/parallel.py --config.task.data_dir=my_task --workdir=runs/my_task

The folder has train.word, train.label, test.word and test.label (and dev.word, dev.label if there is a dev set): one
sentence per line, `first sentence ||| second sentence` for pairs, and one label per line.
`--config=configs/parallel.py:regression` reads scores instead, from .score files if they exist. For an encoder of
your own (docs/encoders.md), pass its folder: `--config.encoder.path=path/to/xlnet`.
"""

from jaxred.config import StudyConfig, TaskConfig


def get_config(kind: str = "classification") -> StudyConfig:
    metric = "pearson_and_spearman" if kind == "regression" else "accuracy"
    return StudyConfig(task=TaskConfig(name="parallel", kind=kind, metric=metric))
