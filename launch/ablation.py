"""Removes neurons and layers inside a fine-tuned model's forward pass, and scores its own head on test.

    python launch/ablation.py --config=configs/demo.py --config.finetune.enabled --workdir=runs/demo
    python launch/ablation.py --config=configs/demo.py --config.finetune.enabled --config.ablation.value=mean ...

Fine-tunes, extracts, measures layers and searches the minimal set first where that is missing. Writes
WORKDIR/results/ablation.json, and tables and figures in WORKDIR/report.html. What is removed, and what intervals are
over: docs/ablation.md.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import report, study
from jaxred.runs.ablation import run_ablation


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("layer_measures", "minimal_neurons"))
    study.timed("ablation", lambda: run_ablation(config, folder))
    report.write(folder)
    print(study.printed("ablation", config, folder))
    print(f"Report:  {folder.report}")


if __name__ == "__main__":
    app.run(main)
