"""Your own texts in tables: CSV, TSV, JSON lines, Parquet, or a folder that `datasets` saved (`save_to_disk`).

    python launch/study.py --config=configs/table.py --config.task.data_dir=reviews --workdir=runs/reviews

The folder has one file per split, such as train.csv and test.csv (and dev.csv, or validation.csv, if there is a dev
set); a single file is split: `--config.task.data_dir=reviews.csv --config.task.test_fraction=0.2`. Columns are called
text, label and, of pairs, text_pair, or are named: `--config.task.text_column=review --config.task.label_column=stars`.
`--config=configs/table.py:regression` reads labels that are scores. See docs/your-data.md.
"""

from jaxred.config import StudyConfig, TaskConfig


def get_config(kind: str = "classification") -> StudyConfig:
    metric = "pearson_and_spearman" if kind == "regression" else "accuracy"
    return StudyConfig(task=TaskConfig(name="table", kind=kind, metric=metric))
