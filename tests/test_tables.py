import pytest

from jaxred.errors import UserError
from jaxred.metrics import OVERALL
from jaxred.tables.doubts import warning
from jaxred.tables.probes import minimal_table, pipeline_table, rows, sweep_table
from jaxred.tables.redundancy import redundancy_table
from jaxred.workdir import Workdir


def scores(dev, test=0.7):
    return {"train": {OVERALL: 0.9}, "dev": {OVERALL: dev}, "test": {OVERALL: test}}


def chosen(delta, top_layer, threshold, size):
    clusters = None if threshold == -1 else [1]
    deltas = {"delta_layers": delta, "delta_neurons": 1.0}
    return {
        **deltas,
        "top_layer": top_layer,
        "threshold": threshold,
        "clusters": clusters,
        "base": scores(0.8),
        "n_minimal": size,
        "minimal_scores": scores(0.79),
    }


@pytest.fixture
def pipeline():
    """3 layers of 10 neurons and 2 classes."""
    return {
        "task": {
            "metric": "accuracy",
            "classes": ["no", "yes"],
            "majority": {"class": "yes", "accuracy": {"train": 0.6, "dev": 0.6, "test": 0.55}},
        },
        "encoder": {"hidden_size": 10, "n_layers": 3, "parameters": [100, 150, 200]},
        "oracle": scores(0.8),
        "solver": "adam",
        "independent": [scores(0.6), scores(0.75), scores(0.7)],
        "incremental": [scores(0.6), scores(0.79), scores(0.8)],
        "layer_selection": [
            {"delta": 3.0, "top_layer": 1, "scores": scores(0.79)},
            {"delta": 1.0, "top_layer": 2, "scores": scores(0.8)},
        ],
        "training": {f"layers-0-{layer}": {"losses": [0.6, 0.5, 0.499], "converged": False} for layer in range(3)},
        "selection": [chosen(3.0, 1, -1, 4), chosen(2.0, 1, -1, 4), chosen(1.0, 2, 0.3, 6)],
    }


def test_the_table_has_baseline_oracle_best_layer_selector_and_minimal_sets(pipeline):
    assert [(row.name, row.layers, row.n_neurons.mean) for row in rows(pipeline)] == [
        ("Majority class (yes)", "none", 0),
        ("Oracle", "0–2", 30),
        ("Best layer alone", "1", 10),
        ("LayerSelector (δ 3)", "0–1", 20),
        ("LayerSelector (δ 1)", "0–2", 30),
        ("LS + CCFS (δ 3/1, 2/1; no clustering)", "0–1", 4),
        ("LS + CCFS (δ 1/1; clustering 0.3)", "0–2", 6),
    ]


def test_parameters_are_of_the_encoder_up_to_the_highest_layer_used_and_of_the_probe(pipeline):
    by_name = {row.name: row for row in rows(pipeline)}
    assert by_name["Oracle"].encoder_parameters == 200
    assert by_name["Oracle"].probe_parameters == 2 * 31
    assert by_name["LS + CCFS (δ 3/1, 2/1; no clustering)"].encoder_parameters == 150
    assert by_name["LS + CCFS (δ 3/1, 2/1; no clustering)"].probe_parameters == 2 * 5
    assert by_name["LS + CCFS (δ 3/1, 2/1; no clustering)"].share == pytest.approx(4 / 30)


def test_an_oracle_that_learnt_nothing_is_warned_of(pipeline):
    assert warning(pipeline) == ""
    pipeline["oracle"] = scores(0.61)
    assert "hardly beats the majority class (0.600)" in warning(pipeline)
    majority, oracle = pipeline["task"]["majority"]["accuracy"], pipeline["oracle"]
    oracle["dev"][OVERALL], majority["dev"], oracle["test"][OVERALL], majority["test"] = 0.7, 0.6, 0.5, 0.52
    assert warning(pipeline).startswith("The oracle's test accuracy (0.500) does not beat the majority class (0.520): ")
    oracle["dev"][OVERALL] = 0.615
    both = (
        "The oracle's dev accuracy (0.615) hardly beats the majority class (0.600), and its test accuracy (0.500) does"
    )
    assert warning(pipeline).startswith(both)


def test_only_accuracy_is_compared_with_the_majority(pipeline):
    pipeline["oracle"] = scores(0.1)
    pipeline["task"]["metric"] = "matthews_corrcoef"
    assert warning(pipeline) == ""
    assert rows(pipeline)[0].dev is None


def test_tables_without_results_say_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"run launch/pipeline\.py"):
        pipeline_table(Workdir(tmp_path))
    with pytest.raises(UserError, match=r"run launch/cluster_sweep\.py"):
        sweep_table(Workdir(tmp_path))
    with pytest.raises(UserError, match=r"run launch/minimal_neurons\.py"):
        minimal_table(Workdir(tmp_path))
    with pytest.raises(UserError, match=r"run launch/redundancy\.py"):
        redundancy_table(Workdir(tmp_path))


def test_the_table_says_how_many_rows_select(tmp_path, pipeline, monkeypatch):
    pipeline["task"]["rows"] = {"train": 810, "dev": 90, "test": 250}
    monkeypatch.setattr("jaxred.tables.text.load_result", lambda path: pipeline)
    assert "Rows: train 810, dev 90, test 250." in pipeline_table(Workdir(tmp_path))


def test_a_dev_set_whose_single_rows_decide_is_warned_of(pipeline):
    assert pipeline["oracle"]["dev"][OVERALL] == pytest.approx(0.8)
    assert min(entry["delta_neurons"] for entry in pipeline["selection"]) == 1
    pipeline["task"]["rows"] = {"train": 810, "dev": 125, "test": 250}  # a row is 0.8 points, as much as is given up
    assert warning(pipeline) == ""
    pipeline["task"]["rows"]["dev"] = 124
    row = "Dev has 124 rows, one of which is 0.81 points of accuracy, more than the 0.8 that δ 1 gives up"
    assert warning(pipeline).startswith(row)
    pipeline["selection"] = [entry | {"delta_layers": 3, "delta_neurons": 0} for entry in pipeline["selection"]]
    assert warning(pipeline) == ""  # a δ of 0 is no matter of rows
    pipeline["task"]["rows"]["dev"] = 12
    assert "one of which is 8.3 points of accuracy, more than the 2.4 that δ 3 gives up" in warning(pipeline)
    pipeline["task"]["metric"] = "f1"
    assert warning(pipeline) == ""


def test_candidates_on_which_a_probe_learnt_nothing_are_warned_of(pipeline):
    pipeline["selection"].append(chosen(1.0, 2, 0.5, 6))
    pipeline["selection"][-1]["base"] = scores(0.6)
    text = "After clustering at 0.5 the probe on all that is left does not beat the majority class on dev (0.600)"
    assert warning(pipeline).startswith(text)
    pipeline["selection"][-2]["base"] = scores(0.5)
    assert warning(pipeline).startswith("After clustering at 0.3, 0.5 the probe")
    pipeline["oracle"] = scores(0.61)
    assert "clustering" not in warning(pipeline)  # it says more that the oracle learnt nothing


def test_an_oracle_that_still_learns_is_warned_of(pipeline):
    record = pipeline["training"]["layers-0-2"]
    record["losses"] = [0.9, 0.6, 0.5]
    assert "The oracle underfits: its loss fell from 0.900 to 0.500 in 3 epochs, and by 0.100 still" in warning(
        pipeline
    )
    pipeline["solver"] = "fista"
    assert "not at its optimum" in warning(pipeline)
    record["converged"] = True
    assert warning(pipeline) == ""


def test_a_regression_oracle_that_does_not_correlate_with_its_training_rows_is_warned_of(pipeline):
    pipeline["task"] = {"metric": "pearson"}
    assert warning(pipeline) == ""
    pipeline["oracle"]["train"][OVERALL] = -0.05
    assert "The oracle's pearson on its own training rows is -0.050" in warning(pipeline)


def test_repeats_are_means_with_deviations(tmp_path, pipeline, monkeypatch):
    def spread(mean, sd, runs=()):
        return {"mean": mean, "sd": sd, "runs": list(runs)}

    def both(mean):
        return {"dev": spread(mean, 0.01), "test": spread(mean - 0.1, 0.02)}

    selected = {"delta_layers": 3.0, "delta_neurons": 1.0, "threshold": -1, "minimal_scores": both(0.79)}
    pipeline["selection"] = pipeline["selection"][:1]
    pipeline["task"]["rows"] = {"train": 810, "dev": 90, "test": 250}
    pipeline["repeats"] = {
        "n": 3,
        "oracle": both(0.8),
        "independent": [both(0.7)] * 3,
        "incremental": [both(0.7)] * 3,
        "layer_selection": [
            {"delta": 3.0, "top_layer": spread(1 / 3, 0.577, [0, 0, 1]), "scores": both(0.78)},
            {"delta": 1.0, "top_layer": spread(2, 0, [2, 2, 2]), "scores": both(0.8)},
        ],
        "selection": [{**selected, "top_layer": spread(1, 0, [1, 1, 1]), "n_minimal": spread(5, 1, [4, 5, 6])}],
    }
    monkeypatch.setattr("jaxred.tables.text.load_result", lambda path: pipeline)
    text = pipeline_table(Workdir(tmp_path))
    assert "0.800 ± 0.010" in text
    assert "0.700 ± 0.020" in text
    assert "0–0 to 0–1" in text
    assert "5 ± 1" in text
    assert "Mean ± standard deviation of 3 repeats." in text
    assert "LayerSelector (δ 3)" in text  # on the mean its layers might be those of δ 1: repeats differ

    pipeline["repeats"]["layer_selection"][1]["top_layer"] = spread(1 / 3, 0.577, [0, 0, 1])
    assert "LayerSelector (δ 3, 1)" in pipeline_table(Workdir(tmp_path))
    pipeline["repeats"]["layer_selection"][1]["top_layer"] = spread(1 / 3, 0.577, [1, 0, 0])
    assert "LayerSelector (δ 3)" in pipeline_table(Workdir(tmp_path))


def spread(mean, sd, runs=()):
    return {"mean": mean, "sd": sd, "runs": list(runs)}


def table(text):
    """The cells of a Markdown table, and what stands below it."""
    lines, _, below = text.partition("\n\n")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()], below


@pytest.fixture
def sweep():
    """3 layers of 1,000 neurons."""
    entry = {"threshold": 0.3, "n_clusters": 1200, "scores": scores(0.75, 0.72)}
    return {
        "task": {"metric": "accuracy"},
        "n_layers": 3,
        "hidden_size": 1000,
        "oracle": scores(0.8),
        "thresholds": [entry, {"threshold": 0.55, "n_clusters": 3, "scores": scores(0.5, 0.51)}],
    }


@pytest.fixture
def minimal():
    return {
        "task": {"metric": "pearson", "rows": {"train": 900, "dev": 100, "test": 200}},
        "oracle": scores(0.8),
        "delta": 1.5,
        "n_candidates": 3000,
        "n_minimal": 60,
        "minimal_scores": scores(0.79, 0.69),
        "minimal_neurons": [[0, 7], [2, 0], [0, 1]],
        "sizes": {"3": scores(0.1), "60": scores(0.79), "1500": scores(0.8)},
        "training": {"oracle": {"losses": [0.9, 0.5, 0.499], "converged": True}},
    }


def loading(monkeypatch, content):
    monkeypatch.setattr("jaxred.tables.text.load_result", lambda path: content)


def test_the_sweeps_table_has_the_oracle_and_every_threshold(tmp_path, sweep, monkeypatch):
    loading(monkeypatch, sweep)
    lines, below = table(sweep_table(Workdir(tmp_path)))
    assert lines[0] == ["threshold", "neurons", "share", "dev accuracy", "test accuracy"]
    assert lines[2:] == [
        ["none", "3,000", "100.0%", "0.800", "0.700"],
        ["0.3", "1,200", "40.0%", "0.750", "0.720"],
        ["0.55", "3", "0.1%", "0.500", "0.510"],
    ]
    assert below == "One neuron of each correlation cluster of all layers is kept."


def test_a_repeated_sweep_gives_means_with_deviations(tmp_path, sweep, monkeypatch):
    def both(mean):
        return {"dev": spread(mean, 0.01), "test": spread(mean - 0.1, 0.02)}

    sweep["repeats"] = {"n": 4, "oracle": both(0.81), "thresholds": [both(0.76), both(0.52)]}
    loading(monkeypatch, sweep)
    lines, below = table(sweep_table(Workdir(tmp_path)))
    assert [line[0] for line in lines[2:]] == ["none", "0.3", "0.55"]
    assert [line[3:] for line in lines[2:]] == [
        [f"{mean:.3f} ± 0.010", f"{mean - 0.1:.3f} ± 0.020"] for mean in (0.81, 0.76, 0.52)
    ]
    assert below.endswith("Mean ± standard deviation of 4 repeats.")


def test_the_minimal_sets_table_has_the_oracle_and_the_set(tmp_path, minimal, monkeypatch):
    loading(monkeypatch, minimal)
    lines, below = table(minimal_table(Workdir(tmp_path)))
    assert lines[0] == ["", "neurons", "share", "dev pearson", "test pearson"]
    assert lines[2:] == [
        ["Oracle", "3,000", "100.0%", "0.800", "0.700"],
        ["Minimal set (δ 1.5)", "60", "2.0%", "0.790", "0.690"],
    ]
    told = "Rows: train 900, dev 100, test 200. The set is selected on dev."
    assert below == f"{told} 3 sizes were tried, up to 1,500. It has 2 of layer 0, 1 of layer 2."
    minimal |= {"sizes": {}, "minimal_neurons": []}
    assert minimal_table(Workdir(tmp_path)).endswith(" 0 sizes were tried, up to 0.")


def test_the_minimal_sets_table_has_the_majority_class_and_says_where_the_oracle_means_little(
    tmp_path, minimal, monkeypatch
):
    task = {"metric": "accuracy", "majority": {"class": "yes", "accuracy": {"train": 0.6, "dev": 0.79, "test": 0.55}}}
    minimal["task"] |= task
    minimal["training"]["oracle"]["losses"] = [0.9, 0.6, 0.5]
    loading(monkeypatch, minimal)
    lines, below = table(minimal_table(Workdir(tmp_path)))
    assert lines[2] == ["Majority class (yes)", "0", "0.0%", "0.790", "0.550"]
    assert "\nNote: The oracle's dev accuracy (0.800) hardly beats the majority class (0.790)" in below
    assert "The oracle underfits: its loss fell from 0.900 to 0.500" in below
    minimal["task"]["metric"] = "f1"
    lines, _ = table(minimal_table(Workdir(tmp_path)))
    assert lines[2] == ["Majority class (yes)", "0", "0.0%", "", ""]


def test_a_repeated_minimal_set_gives_means_with_deviations(tmp_path, minimal, monkeypatch):
    minimal["repeats"] = {
        "n": 2,
        "oracle": {"dev": spread(0.82, 0.01), "test": spread(0.72, 0.02)},
        "n_minimal": spread(75, 21.2, [60, 90]),
        "minimal_scores": {"dev": spread(0.81, 0.03), "test": spread(0.71, 0.04)},
    }
    loading(monkeypatch, minimal)
    lines, below = table(minimal_table(Workdir(tmp_path)))
    assert lines[2:] == [
        ["Oracle", "3,000", "100.0%", "0.820 ± 0.010", "0.720 ± 0.020"],
        ["Minimal set (δ 1.5)", "75 ± 21", "2.5%", "0.810 ± 0.030", "0.710 ± 0.040"],
    ]
    assert below.endswith(" Mean ± standard deviation of 2 repeats.")
