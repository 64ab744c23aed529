import numpy as np
import pytest
from helpers import made_up_results
from helpers.made_up_scores import scores, spread, spread_of_scores

from jaxred.errors import UserError
from jaxred.io import records
from jaxred.probing.features import SPLITS, Features
from jaxred.probing.metrics import OVERALL
from jaxred.report import findings, tables, warnings
from jaxred.report.tables import probes
from jaxred.report.tables.probes import INTERVALS
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import RESULTS
from jaxred.studies.scoring import score_all


def typed(content):
    name = "pipeline" if "selection" in content else "cluster_sweep" if "thresholds" in content else "minimal_neurons"
    return made_up_results.result(name, content)


def warning(content):
    return warnings.warning(typed(content))


def headline(content):
    return findings.headline(typed(content))


def smallest_finding(content):
    return findings.smallest_finding(typed(content))


def rows(content):
    return probes.rows(typed(content))


def printed(content):
    return tables.printed(typed(content))


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
        "minimal_probe": f"first-{size}",
        "finding": True,
    }


@pytest.fixture
def pipeline():
    """3 layers of 10 neurons and 2 classes."""
    return {
        "task": {
            "metric": "accuracy",
            "classes": ["no", "yes"],
            "majority": {"class": "yes", "accuracy": {"train": 0.6, "dev": 0.6, "test": 0.55}},
            "constant": {"class": "yes", "scores": {"train": 0.6, "dev": 0.6, "test": 0.55}},
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
    majority, oracle = pipeline["task"]["constant"]["scores"], pipeline["oracle"]
    oracle["dev"][OVERALL], majority["dev"], oracle["test"][OVERALL], majority["test"] = 0.7, 0.6, 0.5, 0.52
    assert warning(pipeline).startswith("The oracle's test accuracy (0.500) does not beat the majority class (0.520): ")
    oracle["dev"][OVERALL] = 0.615
    both = (
        "The oracle's dev accuracy (0.615) hardly beats the majority class (0.600), and its test accuracy (0.500) does"
    )
    assert warning(pipeline).startswith(both)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews_corrcoef"])
def test_an_oracle_within_its_uncertainty_of_the_best_constant_answer_is_warned_of(pipeline, metric):
    pipeline["task"]["metric"] = metric
    pipeline["oracle"] = scores(0.7, beats=False)
    text = "does not beat the majority class (yes), 0.600 on dev, by more than its uncertainty"
    assert warning(pipeline).startswith(f"The oracle's dev {metric.replace('_', ' ')} (0.700) {text}")


def test_the_best_constant_answer_is_shown_for_every_metric(pipeline):
    assert (rows(pipeline)[0].dev.mean, rows(pipeline)[0].test.mean) == (0.6, 0.55)
    pipeline["task"]["metric"] = "f1"
    pipeline["task"]["constant"] = {"class": "no", "scores": {"train": 0.5, "dev": 0.4, "test": 0.3}}
    first = rows(pipeline)[0]
    assert (first.name, first.dev.mean, first.test.mean) == ("Always the class no", 0.4, 0.3)


def test_results_that_are_not_there_say_what_to_run(tmp_path):
    for name in ("pipeline", "cluster_sweep", "minimal_neurons", "redundancy"):
        with pytest.raises(UserError, match=rf"run jaxred {name.replace('_', '-')}"):
            Workdir(tmp_path).load(RESULTS[name])


def test_the_table_says_how_many_rows_select(pipeline):
    pipeline["task"]["rows"] = {"train": 810, "dev": 90, "test": 250}
    assert "Rows: train 810, dev 90, test 250." in printed(pipeline)


def test_a_dev_set_whose_standard_error_is_more_than_a_delta_gives_up_is_warned_of(pipeline):
    assert min(entry["delta_neurons"] for entry in pipeline["selection"]) == 1
    pipeline["task"]["rows"] = {"train": 810, "dev": 150, "test": 250}
    pipeline["oracle"] = scores(0.8, error=0.008)  # as much as is given up
    assert warning(pipeline) == ""
    pipeline["oracle"] = scores(0.8, error=0.0081)
    text = "Dev has 150 rows: the standard error of the oracle's score there is 0.81 points, more than the 0.8 that δ 1"
    assert warning(pipeline).startswith(text)
    assert warning(pipeline).endswith("or see the spread by config.repeats=10.")
    pipeline["task"]["metric"] = "f1"
    assert warning(pipeline).startswith(text)
    pipeline["selection"] = [entry | {"delta_layers": 3, "delta_neurons": 0} for entry in pipeline["selection"]]
    assert "more than the 0 that δ 0 gives up" in warning(pipeline)


def test_150_rows_of_dev_at_delta_1_are_warned_of(pipeline):
    """The standard error of an accuracy of 0.8 over 150 rows is 3.3 points."""
    rng = np.random.default_rng(0)
    right = np.where(rng.random(150) < 0.8, 1, 0)
    features = Features({}, {split: np.ones(150, np.int32) for split in SPLITS}, ("no", "yes"), 3, 10, None)
    answers = {split: right[:, None] for split in SPLITS}
    (scored,) = score_all(answers, features)
    pipeline["oracle"] = records.to_json(scored) | {"to_oracle": scores(0.8)["to_oracle"]}
    accuracy = right.mean()
    expected = np.sqrt(accuracy * (1 - accuracy) / 150)
    assert pipeline["oracle"]["standard_error"]["dev"] == pytest.approx(expected, rel=0.15)
    pipeline["oracle"]["beats_constant"] = True
    pipeline["task"]["rows"] = {"train": 1350, "dev": 150, "test": 150}
    assert "Dev has 150 rows" in warning(pipeline)


def test_candidates_on_which_a_probe_learnt_nothing_are_warned_of(pipeline):
    pipeline["selection"].append(chosen(1.0, 2, 0.5, 6))
    pipeline["selection"][-1]["base"] = scores(0.6, beats=False)
    text = "After clustering at 0.5 the probe on all that is left does not beat the majority class (yes), 0.600 on dev,"
    assert warning(pipeline).startswith(text)
    pipeline["selection"][-2]["base"] = scores(0.5, beats=False)
    assert warning(pipeline).startswith("After clustering at 0.3, 0.5 the probe")
    pipeline["oracle"] = scores(0.61)
    assert "clustering" not in warning(pipeline)  # it says more that the oracle learnt nothing


# Findings


def failing(pipeline, *numbers):
    for number in numbers:
        pipeline["selection"][number] |= {"finding": False, "minimal_scores": scores(0.6, 0.49, beats=False)}
    return pipeline


def test_a_set_that_knows_nothing_is_marked_and_never_the_headline(pipeline):
    pipeline["task"]["rows"] = {"train": 810, "dev": 90, "test": 250}
    assert "no finding" not in printed(pipeline).lower()
    assert headline(pipeline).startswith("4 of 30 neurons (13.3%), from layers 0–1 of 0–2, keep 100.0% of the oracle's")
    failing(pipeline, 0, 1)
    assert smallest_finding(pipeline) == 2
    assert headline(pipeline).startswith("6 of 30 neurons (20.0%), from layers 0–2 of 0–2")
    text = printed(pipeline)
    assert "| LS + CCFS (δ 3/1, 2/1; no clustering): no finding |" in text
    assert '"No finding" marks what does not beat the majority class (yes), 0.600 on dev, by more than its' in text
    failing(pipeline, 2)
    assert smallest_finding(pipeline) is None
    assert headline(pipeline) == (
        "No finding: no set of neurons beats the majority class (yes), 0.600 on dev, by more than its uncertainty."
    )
    assert "%" not in headline(pipeline)


def test_oracles_layers_and_clusterings_that_know_nothing_are_marked(pipeline, sweep):
    nothing = scores(0.6, beats=False)
    pipeline["oracle"] = pipeline["independent"][1] = pipeline["layer_selection"][0]["scores"] = nothing
    marked = [row.name for row in rows(pipeline) if row.marks == ("no finding",)]
    assert marked == ["Oracle", "LayerSelector (δ 3)"]  # the best layer alone is another one now
    sweep["thresholds"][1]["scores"] = nothing
    lines, below = table(printed(sweep))
    assert [line[0] for line in lines[2:]] == ["none", "0.3", "0.55: no finding"]
    assert '"No finding" marks' in below


def test_the_headline_gives_the_paired_interval_of_what_is_lost(pipeline):
    pipeline["selection"][0]["minimal_scores"] = scores(0.79, 0.68, to_oracle=-0.02)
    text = "keep 97.1% of the oracle's accuracy on test: 0.680 of 0.700, a difference of -0.020 (95% interval -0.025 to"
    assert text in headline(pipeline)


def test_a_set_that_keeps_all_of_an_oracle_that_knows_nothing_is_no_headline(pipeline):
    """A random encoder's empty set keeps 100% of the oracle's score."""
    nothing = scores(0.49, 0.49, beats=False)
    pipeline["oracle"] = nothing
    pipeline["selection"] = [entry | {"n_minimal": 0, "minimal_scores": nothing} for entry in pipeline["selection"]]
    failing(pipeline, 0, 1, 2)
    assert headline(pipeline).startswith("No finding: ")


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
    pipeline["task"] = {"metric": "pearson", "rows": {"dev": 90}}
    assert warning(pipeline) == ""
    pipeline["oracle"]["train"][OVERALL] = -0.05
    assert "The oracle's pearson on its own training rows is -0.050" in warning(pipeline)


def test_repeats_are_means_with_deviations(pipeline):
    def both(mean):
        return spread_of_scores(mean, mean - 0.1)

    selected = {"delta_layers": 3.0, "delta_neurons": 1.0, "threshold": -1, "minimal_scores": both(0.79)}
    selected |= {"base": both(0.8), "findings": 3, "neurons_by_layer": {"0": 2.0, "1": 3.0}}
    pipeline["selection"] = pipeline["selection"][:1]
    pipeline["task"]["rows"] = {"train": 810, "dev": 90, "test": 250}
    pipeline["repeats"] = {
        "n": 3,
        "constant": {split: spread(0.6, 0.01) for split in SPLITS},
        "oracle": both(0.8),
        "independent": [both(0.7), both(0.6), both(0.72)],
        "incremental": [both(0.7)] * 3,
        "layer_selection": [
            {"delta": 3.0, "top_layer": spread(1 / 3, 0.577, [0, 0, 1]), "scores": both(0.78)},
            {"delta": 1.0, "top_layer": spread(2, 0, [2, 2, 2]), "scores": both(0.8)},
        ],
        "selection": [{**selected, "top_layer": spread(1, 1, [0, 1, 2]), "n_minimal": spread(5, 1, [4, 5, 6])}],
        "training": {"probes": 30, "not_converged": 12},
    }
    text = printed(pipeline)
    assert "0.800 ± 0.010" in text
    assert "0.700 ± 0.020 [0.680, 0.720]" in text
    assert " 0 to 0–1 " in text
    assert "5 ± 1" in text
    assert "Mean ± standard deviation of 3 repeats." in text
    assert "12 of 30 probes had not converged" in text
    assert "LayerSelector (δ 3)" in text  # on the mean its layers might be those of δ 1: repeats differ
    by_name = {row.name: row for row in rows(pipeline)}
    assert "Best constant answer" in by_name  # each repeat's own, so that no class is named
    assert by_name["Best layer alone"].layers == "2"  # by the mean, and not by the first repeat
    assert by_name["LS + CCFS (δ 3/1; no clustering)"].encoder_parameters == 150  # of 100, 150 and 200
    assert by_name["LayerSelector (δ 3)"].encoder_parameters == 117
    first = "5 ± 1 of 30 neurons (16.7%), from layers 0 to 0–2 of 0–2, keep 98.6% of the oracle's accuracy on test: "
    assert headline(pipeline).startswith(f"{first}0.690 ± 0.020 of 0.700 ± 0.020")
    assert headline(pipeline).endswith("Means ± standard deviations of 3 repeats.")

    pipeline["repeats"]["selection"][0] |= {"findings": 2}
    assert headline(pipeline).startswith("No finding: ")
    assert "(δ 3/1; no clustering): no finding in 1 of 3 repeats |" in printed(pipeline)

    pipeline["repeats"]["layer_selection"][1]["top_layer"] = spread(1 / 3, 0.577, [0, 0, 1])
    assert "LayerSelector (δ 3, 1)" in printed(pipeline)
    pipeline["repeats"]["layer_selection"][1]["top_layer"] = spread(1 / 3, 0.577, [1, 0, 0])
    assert "LayerSelector (δ 3)" in printed(pipeline)


def test_fista_that_has_not_met_its_tolerance_is_reported_wherever_scores_stand(pipeline, sweep, minimal):
    pipeline["task"]["rows"] = {"train": 810, "dev": 90, "test": 250}
    for results in (pipeline, sweep, minimal):
        results["solver"] = "fista"
        for record in results["training"].values():
            record["converged"] = True
        assert "optimum" not in printed(results)
        next(iter(results["training"].values()))["converged"] = False
        text = f"1 of {len(results['training'])} probes had not met probe.tolerance after probe.max_iterations: their"
        assert text in printed(results)
    pipeline["training"]["layers-0-2"]["converged"] = False
    assert "| Oracle: not at its optimum " in printed(pipeline)


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
        "solver": "adam",
        "training": {"no-clustering": {"losses": [0.5], "converged": True}},
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
        "finding": True,
        "solver": "adam",
        "minimal_neurons": [[0, 7], [2, 0], [0, 1]],
        "sizes": {"3": scores(0.1), "60": scores(0.79), "1500": scores(0.8)},
        "training": {"oracle": {"losses": [0.9, 0.5, 0.499], "converged": True}},
    }


def test_the_sweeps_table_has_the_oracle_and_every_threshold(sweep):
    lines, below = table(printed(sweep))
    assert lines[0] == ["threshold", "neurons", "share", "dev accuracy", "test accuracy", "test - oracle"]
    lost = "-0.010 [-0.015, -0.005]"
    assert lines[2:] == [
        ["none", "3,000", "100.0%", "0.800", "0.700 [0.680, 0.720]", ""],
        ["0.3", "1,200", "40.0%", "0.750", "0.720 [0.700, 0.740]", lost],
        ["0.55", "3", "0.1%", "0.500", "0.510 [0.490, 0.530]", lost],
    ]
    assert below == f"One neuron of each correlation cluster of all layers is kept. {INTERVALS}"


def test_a_repeated_sweep_gives_means_with_deviations(sweep):
    def both(mean):
        return spread_of_scores(mean, mean - 0.1, beats=4) | {"n_clusters": spread(1500, 20)}

    sweep["repeats"] = {"n": 4, "oracle": both(0.81), "thresholds": [both(0.76), both(0.52)]}
    sweep["repeats"]["training"] = {"probes": 8, "not_converged": 0}
    lines, below = table(printed(sweep))
    assert [line[0] for line in lines[2:]] == ["none", "0.3", "0.55"]
    assert [line[3:5] for line in lines[2:]] == [
        [f"{mean:.3f} ± 0.010", f"{mean - 0.1:.3f} ± 0.020 [{mean - 0.12:.3f}, {mean - 0.08:.3f}]"]
        for mean in (0.81, 0.76, 0.52)
    ]
    assert [line[1] for line in lines[2:]] == ["3,000", "1,500 ± 20", "1,500 ± 20"]
    assert below.endswith("Mean ± standard deviation of 4 repeats.")


def test_the_minimal_sets_table_has_the_oracle_and_the_set(minimal):
    lines, below = table(printed(minimal))
    assert lines[0] == ["", "neurons", "share", "dev pearson", "test pearson", "test - oracle"]
    assert lines[2:] == [
        ["Oracle", "3,000", "100.0%", "0.800", "0.700 [0.680, 0.720]", ""],
        ["Minimal set (δ 1.5)", "60", "2.0%", "0.790", "0.690 [0.670, 0.710]", "-0.010 [-0.015, -0.005]"],
    ]
    told = "Rows: train 900, dev 100, test 200. The set is selected on dev."
    assert below == f"{told} 3 sizes were tried, up to 1,500. It has 2 of layer 0, 1 of layer 2. {INTERVALS}"
    minimal |= {"sizes": {}, "minimal_neurons": []}
    assert printed(minimal).endswith(f" 0 sizes were tried, up to 0. {INTERVALS}")
    minimal["finding"] = False
    lines, below = table(printed(minimal))
    assert lines[3][0] == "Minimal set (δ 1.5): no finding"
    assert '"No finding" marks what does not beat a correlation of 0 by more than its uncertainty.' in below


def test_the_minimal_sets_table_has_the_majority_class_and_says_where_the_oracle_means_little(minimal):
    accuracy = {"train": 0.6, "dev": 0.79, "test": 0.55}
    task = {"metric": "accuracy", "majority": {"class": "yes", "accuracy": accuracy}}
    task["constant"] = {"class": "yes", "scores": accuracy}
    minimal["task"] |= task
    minimal["training"]["oracle"]["losses"] = [0.9, 0.6, 0.5]
    lines, below = table(printed(minimal))
    assert lines[2] == ["Majority class (yes)", "0", "0.0%", "0.790", "0.550", ""]
    assert "\nNote: The oracle's dev accuracy (0.800) hardly beats the majority class (0.790)" in below
    assert "The oracle underfits: its loss fell from 0.900 to 0.500" in below


def test_a_repeated_minimal_set_gives_means_with_deviations(minimal):
    minimal["repeats"] = {
        "n": 2,
        "oracle": spread_of_scores(0.82, 0.72, beats=2),
        "n_minimal": spread(75, 21.2, [60, 90]),
        "minimal_scores": spread_of_scores(0.81, 0.71, (0.03, 0.04), beats=2),
        "findings": 2,
        "neurons_by_layer": {"0": 45.5, "2": 29.5},
        "in_every_run": 12,
        "training": {"probes": 8, "not_converged": 0},
    }
    lines, below = table(printed(minimal))
    lost = "-0.010 [-0.015, -0.005]"
    assert lines[2:] == [
        ["Oracle", "3,000", "100.0%", "0.820 ± 0.010", "0.720 ± 0.020 [0.700, 0.740]", ""],
        ["Minimal set (δ 1.5)", "75 ± 21", "2.5%", "0.810 ± 0.030", "0.710 ± 0.040 [0.690, 0.730]", lost],
    ]
    assert "On the mean it has 45.5 of layer 0, 29.5 of layer 2; 12 neurons are in the set of every repeat." in below
    assert below.endswith(" Mean ± standard deviation of 2 repeats.")
