"""The score at every clustering threshold, over all layers. Extracts the activations first if they are missing.

    python launch/cluster_sweep.py --config=configs/demo.py --workdir=runs/demo
    python launch/cluster_sweep.py --config=configs/demo.py --config.clustering.sweep_thresholds='(0.2, 0.4)' ...

Writes WORKDIR/results/cluster_sweep.json, WORKDIR/results/all_results_cluster_sweep.json (the original's format) and
WORKDIR/probes/cluster_sweep.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("cluster_sweep",))
    print(study.printed("cluster_sweep", config, folder))


if __name__ == "__main__":
    app.run(main)
