"""The cluster map of a finished run: a figure, and its neurons in the order of their tree."""

from pathlib import Path

import jaxred
from jaxred.config import to_dict
from jaxred.io.artifacts import get_or_make, of_files
from jaxred.io.files import write_text
from jaxred.io.result_files import fingerprint
from jaxred.io.tables import as_csv
from jaxred.runs.finished import Finished, open_run
from jaxred.runs.workdir import locked
from jaxred.statistics.cluster_map import cluster_map
from jaxred.statistics.clustering import cluster_tree
from jaxred.statistics.moments import Moments


def draw_map(workdir: Path) -> Path:
    """Draws figures/cluster_map.png and writes results/redundancy_neurons.csv, from the moments that a run has left.

    Raises:
        UserError: if it has no activations.
    """
    with locked(workdir):
        return _draw_map(workdir)


def _draw_map(workdir: Path) -> Path:
    run = open_run(workdir, workdir.name)
    task, clustering = run.config.task, run.config.clustering
    file = run.workdir.figures / "cluster_map.png"
    table = run.workdir.result("redundancy").with_name("redundancy_neurons.csv")
    split = [task.split_seed, task.dev_fraction, "dev" in run.stores]
    identity = fingerprint(["cluster_map", jaxred.__version__, run.train.ledger.identity, split, to_dict(clustering)])
    drawn = of_files(run.workdir.path, "cluster_map", identity, [file, table])
    get_or_make(drawn, lambda: _make(run, file, table), "the cluster map is drawn again")
    return file


def _make(run: Finished, file: Path, table: Path) -> None:
    from jaxred.report import figures  # here, because importing matplotlib takes a second

    clustering, hidden_size = run.config.clustering, run.train.hidden_size
    first, second = run.sums()
    correlation = Moments.of(first + second).correlation()
    tree = cluster_tree(correlation, clustering.distance, clustering.linkage)
    map_of_clusters = cluster_map(correlation, tree, hidden_size, clustering.distance)
    figures.draw_cluster_map(file, map_of_clusters, clustering.window_threshold)
    labels = tree.cut(clustering.window_threshold)
    lines = [[neuron, *divmod(neuron, hidden_size), labels[neuron]] for neuron in map_of_clusters.order.tolist()]
    head = ["neuron", "layer", "index", f"cluster_at_{clustering.window_threshold:g}"]
    write_text(table, as_csv([head, *lines]))
