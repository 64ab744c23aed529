"""General redundancy of several tasks together, from the workdirs of finished runs.

    python launch/redundancy.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data --workdir=runs/sst2
    python launch/redundancy.py --config=configs/glue.py:rte --config.task.data_dir=glue_data --workdir=runs/rte
    python launch/redundancy.py --config=configs/tasks.py:runs/sst2,runs/rte --workdir=runs/both

Any run that has left activations will do, and a sweep stands for all of its runs: `configs/tasks.py:runs/glue`. The
encoders must be of one shape; where they are the same encoder, the rows of all tasks are also pooled. Clusters are made
with this run's settings, as `--config.clustering.linkage=complete`, whatever the tasks' own settings are. The tasks'
activations are read in place, and their moments are kept next to them.
"""

from jaxred.config import SourceConfig, StudyConfig, TaskConfig, workdirs_of
from jaxred.errors import UserError


def get_config(workdirs: str = "") -> StudyConfig:
    if not workdirs_of(workdirs):
        raise UserError(
            "configs/tasks.py needs the workdirs of finished runs, with a comma between them: pass "
            "--config=configs/tasks.py:runs/one,runs/other."
        )
    return StudyConfig(task=TaskConfig(name=""), source=SourceConfig(tasks=workdirs_of(workdirs)))
