"""Controls next to the pipeline's scores: selectivity, usable information, code lengths. Runs the pipeline first.

    python launch/controls.py --config=configs/demo.py --workdir=runs/demo
    python launch/controls.py --config=configs/demo.py --config.controls.seed=7 --workdir=runs/seed-7

Writes WORKDIR/results/controls.json and controls.csv; docs/controls.md says what the numbers are.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("pipeline", "controls"))
    print(study.printed("controls", config, folder))


if __name__ == "__main__":
    app.run(main)
