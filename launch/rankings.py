"""Compares rankings of neurons: the same probe, trained again on the first k neurons of each, for every k of a grid.

    python launch/rankings.py --config=configs/demo.py --workdir=runs/demo

Extracts the activations first if they are missing. Writes WORKDIR/results/rankings.json and rankings.csv and, in
WORKDIR/report.html, figures and a table. The rankings are those of `--config.selection.ranking`: docs/rankings.md.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import report, study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("rankings",))
    report.write(folder)
    print(study.printed("rankings", config, folder))
    print(f"Report:  {folder.report}")


if __name__ == "__main__":
    app.run(main)
