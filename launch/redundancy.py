"""CKA between layers, neuron clusters, cluster windows, measures of layers. Extracts the activations first if needed.

    python launch/redundancy.py --config=configs/demo.py --workdir=runs/demo
    python launch/redundancy.py --config=configs/tasks.py:runs/sst2,runs/rte --workdir=runs/both
    python launch/redundancy.py --config=configs/models.py:runs/bert,runs/xlnet --workdir=runs/bert_and_xlnet

Writes WORKDIR/results/redundancy.json, layer_measures.json, CSV files next to them, and WORKDIR/moments; for several
tasks together tasks.json, for two models on the same rows models.json. --cluster_map also draws
WORKDIR/figures/cluster_map.png, for one task.
"""

from absl import flags

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.runs import cluster_map, study

CLUSTER_MAP = flags.DEFINE_bool("cluster_map", False, "Draw the neurons' correlations in the order of their tree.")


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    name = study.result_of("redundancy", config)
    if CLUSTER_MAP.value and name != "redundancy":
        raise UserError("--cluster_map is of one task: leave it out, or give the --config of one.")
    wanted = ("redundancy", "layer_measures") if name == "redundancy" else ("redundancy",)
    folder = study.run_stages(config, workdir, overwrite, wanted)
    for stage in wanted:
        print(study.printed(stage, config, folder))
    if CLUSTER_MAP.value:
        print(f"Figure:  {cluster_map.draw_map(folder.path)}")


if __name__ == "__main__":
    app.run(main)
