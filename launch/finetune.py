"""Fine-tunes an encoder on a task, and keeps it as a Hugging Face folder with its head.

    python launch/finetune.py --config=configs/glue.py:mrpc --config.task.data_dir=glue_data --workdir=runs/mrpc

Writes WORKDIR/finetuned (transformers loads it, and --config.encoder.path takes it), WORKDIR/results/finetuning.json
and the learning curve in WORKDIR/report.html. A run that was stopped resumes at the step that was last saved. To study
the encoder in the same run: python launch/study.py --config.finetune.enabled ...
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import report, study
from jaxred.runs.workdir import Workdir


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder: Workdir = study.finetune(config, workdir, overwrite)
    report.write(folder)
    print(study.printed("finetuning", config, folder))
    print(f"Encoder: {folder.finetuned}")
    print(f"Report:  {folder.report}")


if __name__ == "__main__":
    app.run(main)
