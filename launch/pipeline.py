"""Oracle, layer probes, LayerSelector and CCFS on a task. Extracts its activations first if they are missing.

    python launch/pipeline.py --config=configs/demo.py --workdir=runs/demo

Writes WORKDIR/results/pipeline.json, WORKDIR/results/all_results.json (the original's format) and
WORKDIR/probes/pipeline.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("pipeline",))
    print(study.printed("pipeline", config, folder))


if __name__ == "__main__":
    app.run(main)
