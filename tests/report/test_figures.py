"""Figures of made-up results: what is drawn for which of them."""

import itertools

import matplotlib as mpl
import pytest
from helpers import made_up_results, made_up_scores
from matplotlib import pyplot as plt

from jaxred.report import figures

FIGURES = {
    "pipeline": ["layers", "minimal_neurons", "kept_neurons", "training"],
    "cluster_sweep": ["cluster_sweep"],
    "minimal_neurons": ["minimal_of_all"],
    "redundancy": ["cka", "clusters", "windows"],
}  # in the order of the report


def scores(value):
    return made_up_scores.scores(value - 0.01, value - 0.02, value)


def spread_of(value):
    return made_up_scores.spread_of_scores(value, value)


def results(metric="accuracy", repeats=False):
    """3 layers of 10 neurons."""
    task = {"metric": metric}
    if metric in ("accuracy", "f1"):
        even = {"train": 0.5, "dev": 0.5, "test": 0.5}
        task["majority"] = {"class": "yes", "accuracy": even}
        task["constant"] = {"class": "yes" if metric == "accuracy" else "no", "scores": even}
    sizes = {"0": scores(0.5), "3": scores(0.7), "15": scores(0.8)}
    chosen = {"base": scores(0.8), "sizes": sizes, "minimal_scores": scores(0.7), "n_minimal": 3, "finding": True}
    clustered = {"top_layer": 1, "threshold": 0.3, "clusters": [1, 2], "minimal_neurons": [[0, 1], [1, 2], [1, 3]]}
    empty = {"n_minimal": 0, "minimal_neurons": [], "minimal_scores": scores(0.5)}
    found = {
        "pipeline": {
            "task": task,
            "encoder": {"n_layers": 3, "hidden_size": 10},
            "oracle": scores(0.8),
            "independent": [scores(0.6)] * 3,
            "incremental": [scores(0.7)] * 3,
            "training": {f"layers-0-{layer}": {"losses": [0.6, 0.5]} for layer in range(3)},
            "selection": [
                {**chosen, **clustered},
                {**chosen, **empty, "top_layer": 2, "threshold": -1, "clusters": None},
            ],
        },
        "cluster_sweep": {
            "task": task,
            "oracle": scores(0.8),
            "thresholds": [{"threshold": t / 10, "n_clusters": 30 - t, "scores": scores(0.7)} for t in (1, 5, 9)],
        },
        "minimal_neurons": {"task": task, "oracle": scores(0.8), "n_candidates": 30, **chosen},
        "redundancy": {
            "n_layers": 3,
            "hidden_size": 10,
            "cka": [[None, 0.2, 0.3], [0.2, 1.0, 0.5], [0.3, 0.5, 1.0]],
            "thresholds": [{"threshold": 0.3, "n_clusters": 20, "redundant_share": 1 / 3}],
            "window_threshold": 0.3,
            "windows": [10, 5, 0],
        },
    }
    if repeats:
        both, spread = [spread_of(0.7)] * 3, made_up_scores.spread
        tops = {"top_layer": spread(1.5, 0.7, [1, 2]), "n_minimal": spread(4.5, 2.1, [3, 6])}
        chosen = {**tops, "findings": 1, "neurons_by_layer": {"0": 1.5, "1": 3.0}}
        found["pipeline"]["repeats"] = {"n": 2, "independent": both, "incremental": both, "oracle": spread_of(0.8)}
        found["pipeline"]["repeats"]["selection"] = [chosen, chosen]
        thresholds = [{**entry, "n_clusters": spread(27.5, 0.7, [27, 28])} for entry in both]
        found["cluster_sweep"]["repeats"] = {"n": 2, "oracle": spread_of(0.8), "thresholds": thresholds}
        found["minimal_neurons"]["repeats"] = {"n": 2, "oracle": spread_of(0.8), "minimal_scores": spread_of(0.7)}
    return {name: made_up_results.result(name, content) for name, content in found.items()}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, by file name, in place of drawing their pixels."""
    saved = {}

    def save(path, write):
        saved[path.name] = write.func.__self__
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr(figures, "replace_file", save)
    return saved


@pytest.mark.parametrize(
    "studies",
    [names for n in range(5) for names in itertools.combinations(FIGURES, n)],
    ids=lambda names: "+".join(names),
)
def test_every_combination_of_results_has_its_figures_in_the_order_of_the_report(studies, drawn, tmp_path):
    found, others = results(), plt.get_fignums()
    files = figures.draw(tmp_path / "figures", {name: found[name] for name in studies})
    assert list(files) == [figure for name in studies for figure in FIGURES[name]]
    assert all(path == tmp_path / "figures" / f"{name}.png" for name, path in files.items())
    assert sorted(drawn) == sorted(path.name for path in files.values())
    assert plt.get_fignums() == others  # all closed


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("metric", ["accuracy", "f1", "pearson_and_spearman"])
def test_figures_name_the_metric_and_show_what_a_finding_must_beat(metric, repeats, drawn, tmp_path):
    figures.draw(tmp_path, results(metric, repeats))
    words = metric.replace("_", " ")
    for name in ("layers", "minimal_neurons", "minimal_of_all", "cluster_sweep"):
        (axes,) = drawn[f"{name}.png"].axes
        assert words in axes.get_ylabel()
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert ("majority class" in labels) == (metric == "accuracy"), name
        assert ("always the class no" in labels) == (metric == "f1"), name
        assert ("repeat 1 of 2" in axes.get_title("left")) == (
            repeats and name in ("minimal_neurons", "minimal_of_all")
        )
    labels = [text.get_text() for text in drawn["kept_neurons.png"].axes[0].get_legend().get_texts()]
    mean = "layers 0–1 to 0–2, clustering 0.3: 4 ± 2 neurons (no finding in 1 of 2 repeats)"
    assert (mean in labels) == repeats


def test_the_sweep_alone_is_drawn_as_a_picture(tmp_path):
    files = figures.draw(tmp_path, {"cluster_sweep": results()["cluster_sweep"]})
    assert list(files) == ["cluster_sweep"]
    assert files["cluster_sweep"].read_bytes().startswith(b"\x89PNG")
    assert mpl.rcParams["font.size"] != figures.STYLE["font.size"]  # the style is of these figures alone


def test_figures_for_papers_are_the_same_files_every_time(tmp_path):
    for folder in ("once", "again"):
        figures.draw(tmp_path / folder, {"cluster_sweep": results()["cluster_sweep"]}, ["pdf", "svg"])
    contents = [{f.name: f.read_bytes() for f in (tmp_path / folder).iterdir()} for folder in ("once", "again")]
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == ["cluster_sweep.pdf", "cluster_sweep.png", "cluster_sweep.svg"]
    assert contents[0]["cluster_sweep.pdf"].startswith(b"%PDF")
    assert b"<svg" in contents[0]["cluster_sweep.svg"]


def test_the_sweeps_curves_are_its_scores(drawn, tmp_path):
    found = results("pearson")["cluster_sweep"]
    figures.draw(tmp_path, {"cluster_sweep": found})
    (axes,) = drawn["cluster_sweep.png"].axes
    for split in ("dev", "test"):
        (curve,) = [bars.lines[0] for bars in axes.containers if bars.get_label() == split]
        assert list(curve.get_xdata()) == [0.1, 0.5, 0.9]
        assert list(curve.get_ydata()) == [entry.scores.overall(split) for entry in found.thresholds]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1\n29", "0.5\n25", "0.9\n21"]


def test_a_repeated_pipelines_layers_are_means_with_error_bars(drawn, tmp_path):
    figures.draw(tmp_path, {"pipeline": results(repeats=True)["pipeline"]})
    (axes,) = drawn["layers.png"].axes
    assert len(axes.containers) == 2
    for bars in axes.containers:
        assert bars.has_yerr
        assert list(bars.lines[0].get_ydata()) == [0.7, 0.7, 0.7]
