"""Extracts the vectors of every layer for a task's sentences or words into activation stores.

    python launch/extract.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data --workdir=runs/sst2

Writes the stores WORKDIR/activations/<split>, or where --config.extraction.store says. Several processes share the
work, on one machine or on many (docs/scaling.md):

    python launch/extract.py ... --coordinator=host:4321 --n_processes=2 --process=0
    python launch/extract.py ... --coordinator=host:4321 --n_processes=2 --process=1
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.io.processes import own_number
from jaxred.runs import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ())
    if own_number() == 0:
        print(f"Activations: {folder.stores}")


if __name__ == "__main__":
    app.run(main, with_others=True)
