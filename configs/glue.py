"""A GLUE task in the layout of GLUE's own files; its official dev set is the test set, as in the paper.

    python launch/study.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data \
        --config.encoder.path=path/to/finetuned-bert --workdir=runs/sst2

Tasks: cola, sst2, mrpc, qqp, stsb, mnli (dev_matched), qnli, rte, wnli. The folder may be the task's own (with
train.tsv and dev.tsv) or the one above it. The paper's encoders are fine-tuned on the task; a pretrained one works as
well. The folder says which encoder it is (docs/encoders.md): `--config.encoder.path=path/to/finetuned-xlnet`.
"""

from jaxred.config import StudyConfig, TaskConfig
from jaxred.data.glue import GLUE_TASKS, glue_name
from jaxred.errors import UserError


def get_config(task: str = "sst2") -> StudyConfig:
    name = glue_name(task)
    if name is None:
        raise UserError(f"configs/glue.py:{task} is not known: choose one of {', '.join(GLUE_TASKS)}.")
    if GLUE_TASKS[name].kind == "regression":
        return StudyConfig(task=TaskConfig(name=task, kind="regression", metric="pearson_and_spearman"))
    return StudyConfig(task=TaskConfig(name=task))
