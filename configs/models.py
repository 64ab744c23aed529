"""Two models on the same rows, from the workdirs of finished runs: CKA between their layers, and clusters they share.

    python launch/redundancy.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data \
        --config.encoder.path=path/to/bert --workdir=runs/bert
    python launch/redundancy.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data \
        --config.encoder.path=path/to/xlnet --workdir=runs/xlnet
    python launch/redundancy.py --config=configs/models.py:runs/bert,runs/xlnet --workdir=runs/bert_and_xlnet

The models may have any number of layers and neurons. That the rows are of the same examples is checked by
the fingerprints in the stores' ledgers; other rows are rejected. Both stores are read once, together.
"""

from jaxred.config import SourceConfig, StudyConfig, TaskConfig, workdirs_of
from jaxred.errors import UserError


def get_config(workdirs: str = "") -> StudyConfig:
    if not workdirs_of(workdirs):
        raise UserError(
            "configs/models.py needs the workdirs of two finished runs, with a comma between them: pass "
            "--config=configs/models.py:runs/one,runs/other."
        )
    return StudyConfig(task=TaskConfig(name=""), source=SourceConfig(models=workdirs_of(workdirs)))
