"""Draws the figures and writes the HTML report of a workdir's results; nothing is computed anew.

python launch/report.py --workdir=runs/demo
"""

from jaxred import app, report
from jaxred.config import StudyConfig
from jaxred.workdir import Workdir


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    del config, overwrite  # the results say what they are results of
    folder = Workdir(workdir)
    report.write(folder, force=True)
    print(f"Report: {folder.report}")


if __name__ == "__main__":
    app.run(main)
