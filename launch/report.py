"""Draws the figures and writes the HTML report of a workdir's results. Computes no result again.

python launch/report.py --workdir=runs/demo [--vector=pdf,svg]
"""

from absl import flags

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import report
from jaxred.runs.workdir import Workdir

VECTOR = flags.DEFINE_list("vector", [], "Formats of the figures in addition to PNG, for papers: pdf, svg or both.")
flags.register_validator(
    "vector",
    lambda formats: {*formats} <= {*report.VECTOR_FORMATS},
    "choose pdf, svg or pdf,svg; PNG is always written",
)


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    del config, overwrite  # the results say which configuration they are from
    folder = Workdir(workdir)
    report.write(folder, force=True, also=VECTOR.value)
    print(f"Report: {folder.report}")


if __name__ == "__main__":
    app.run(main)
