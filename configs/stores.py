"""Activations that are stores already, as launch/convert.py makes them from files of other tools.

    python launch/convert.py --input=train.json --labels=train.label --output=my_stores/train
    python launch/convert.py --input=test.json --labels=test.label --output=my_stores/test
    python launch/study.py --config=configs/stores.py --config.source.stores=my_stores --workdir=runs/my_stores

The folder has the stores train and test, and dev if there is a dev set; their rows are sentences or words. They are
read in place. `--config=configs/stores.py:regression` is for stores whose labels are scores.
"""

from jaxred.config import StudyConfig, TaskConfig


def get_config(kind: str = "classification") -> StudyConfig:
    metric = "pearson_and_spearman" if kind == "regression" else "accuracy"
    return StudyConfig(task=TaskConfig(name="", kind=kind, metric=metric))
