"""CKA between layers, neuron clusters at every threshold, cluster windows; extracts the activations first if need be.

    python launch/redundancy.py --config=configs/demo.py --workdir=runs/demo
    python launch/redundancy.py --config=configs/tasks.py:runs/sst2,runs/rte --workdir=runs/both
    python launch/redundancy.py --config=configs/models.py:runs/bert,runs/xlnet --workdir=runs/bert_and_xlnet

Writes WORKDIR/results/redundancy.json, CSV files beside it, and WORKDIR/moments; of several tasks together tasks.json,
of two models on the same rows models.json.
"""

from jaxred import app, tables
from jaxred.config import StudyConfig
from jaxred.experiments import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    name = study.result_of("redundancy", config)
    folder = study.run_stages(config, workdir, overwrite, ("redundancy",))
    print(f"\n{tables.REDUNDANCY[name](folder)}\n\nResults: {folder.result(name)}")


if __name__ == "__main__":
    app.run(main)
