"""Extracts the vectors of every layer for a task's sentences or words into activation stores.

    python launch/extract.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data --workdir=runs/sst2

Writes the stores WORKDIR/activations/<split>.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ())
    print(f"Activations: {folder.stores}")


if __name__ == "__main__":
    app.run(main)
