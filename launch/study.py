"""Runs a whole study, from text to report.

    python launch/study.py --config=configs/demo.py --workdir=runs/demo
    python launch/study.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data --workdir=runs/sst2

What is done in the workdir is kept; a run that was killed resumes where it stopped.
"""

from jaxred.cli import app
from jaxred.runs import study

if __name__ == "__main__":
    app.run(study.run)
