"""Several GLUE tasks from one folder, each with its kind and metric.

    python launch/pipeline.py --config=configs/sweeps/glue.py --config.task.data_dir=glue_data \
        --config.encoder.path=path/to/bert --workdir=runs/glue
    python launch/study.py --config=configs/sweeps/glue.py:rte,mrpc --config.task.data_dir=glue_data --workdir=runs/two

glue_data has one folder per task, as in GLUE's archive. Without an argument: sst2, mrpc, stsb, qnli, rte. The cost
is the sum of the tasks', mostly extraction (docs/results.md); try it with `--config.task.limit_instances=1000`. Add an
axis to go over models, as `"model": {"base": {"encoder.path": "base"}, "large": {"encoder.path": "large"}}`,
or over any field, as `"probe.seed": (42, 43)`.
"""

from jaxred.data.glue import GLUE_TASKS, glue_name
from jaxred.errors import UserError
from jaxred.sweeps.grid import Sweep


def get_config(tasks: str = "sst2,mrpc,stsb,qnli,rte") -> Sweep:
    return Sweep(axes={"task": {task: _fields(task) for task in tasks.split(",")}})


def _fields(task: str) -> dict[str, str]:
    name = glue_name(task)
    if name is None:
        raise UserError(f"configs/sweeps/glue.py:{task} is not known: choose some of {', '.join(GLUE_TASKS)}.")
    if GLUE_TASKS[name].kind == "regression":
        return {"task.name": task, "task.kind": "regression", "task.metric": "pearson_and_spearman"}
    return {"task.name": task, "task.kind": "classification", "task.metric": "accuracy"}
