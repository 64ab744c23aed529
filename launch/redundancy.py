"""CKA between layers, neuron clusters at every threshold, cluster windows; extracts the activations first if need be.

    python launch/redundancy.py --config=configs/demo.py --workdir=runs/demo

Writes WORKDIR/results/redundancy.json and WORKDIR/moments.
"""

from jaxred import app, tables
from jaxred.config import StudyConfig
from jaxred.experiments import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("redundancy",))
    print(f"\n{tables.redundancy_table(folder)}\n\nResults: {folder.result('redundancy')}")


if __name__ == "__main__":
    app.run(main)
