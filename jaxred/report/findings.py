"""What a study of probes found: which sets are findings, and the smallest in a sentence.

A set of neurons that does not beat the best constant answer on dev by more than its uncertainty is no finding,
whatever the rules of selection accepted.
"""

from typing import Any

from jaxred.probing.metrics import OVERALL
from jaxred.probing.resampling import LEVEL
from jaxred.report.values import Value, to_oracle, value

NO_FINDING = "no finding"
MAJORITY, BEST_CONSTANT = "Majority class", "Best constant answer"


def n_repeats(results: dict[str, Any]) -> int:
    """How often a study was run."""
    return results["repeats"]["n"] if "repeats" in results else 1


def mark(n_findings: int, n_runs: int) -> str:
    """How an entry is marked, of whose runs so many are findings; empty where all are."""
    if n_findings == n_runs:
        return ""
    return NO_FINDING if n_findings == 0 else f"{NO_FINDING} in {n_runs - n_findings} of {n_runs} repeats"


def mark_of_scores(scores: dict[str, Any], spread: dict[str, Any] | None, n_runs: int) -> str:
    """The mark of a probe by its own scores."""
    return mark(int((scores if spread is None else spread)["beats_constant"]), n_runs)


def constant(results: dict[str, Any]) -> tuple[str, dict[str, Value]] | None:
    """The name of the best constant answer, and its scores by split; None for regression."""
    task = results["task"]
    if task.get("constant") is None:
        return None
    label, spread = task["constant"]["class"], results.get("repeats", {}).get("constant")
    if spread:  # each repeat has its own
        return BEST_CONSTANT, {split: Value(entry["mean"], entry["sd"] or None) for split, entry in spread.items()}
    name = f"{MAJORITY} ({label})" if label == task["majority"]["class"] else f"Always the class {label}"
    return name, {split: Value(score) for split, score in task["constant"]["scores"].items()}


def what_is_beaten(results: dict[str, Any]) -> str:
    """What a finding must beat on dev, in words."""
    found = constant(results)
    if found is None:
        return "a correlation of 0"
    name, scores = found
    return f"{in_a_sentence(name)}, {scores['dev'].mean:.3f} on dev,"


def in_a_sentence(name: str) -> str:
    """The name of a constant answer within a sentence."""
    article = "the " if name.startswith((MAJORITY, BEST_CONSTANT)) else ""
    return f"{article}{name[0].lower()}{name[1:]}"


def no_finding_note(results: dict[str, Any], marks: list[str]) -> str:
    """What the marks mean; empty where nothing is marked."""
    if not any(marks):
        return ""
    return (
        f'"{NO_FINDING.capitalize()}" marks what does not beat {what_is_beaten(results)} by more than its uncertainty.'
    )


def smallest_finding(study: dict[str, Any]) -> int | None:
    """The number of the smallest minimal set that is a finding in every repeat, or None. Of a minimal set out of all
    neurons, which has no list of sets, it is 0.
    """
    n_runs, repeats = n_repeats(study), study.get("repeats")
    if "selection" not in study:
        return 0 if "finding" in study and (repeats["findings"] if repeats else study["finding"]) == n_runs else None
    sizes = {}
    for i, chosen in enumerate(study["selection"]):
        if (repeats["selection"][i]["findings"] if repeats else chosen["finding"]) == n_runs:
            entry = repeats["selection"][i] if repeats else chosen
            mean = (entry[name]["mean"] if repeats else entry[name] for name in ("n_minimal", "top_layer"))
            sizes[i] = tuple(mean)
    return min(sizes, key=lambda i: sizes[i]) if sizes else None


def searches(study: dict[str, Any]) -> bool:
    """Whether a study looks for minimal sets."""
    return "selection" in study or "n_minimal" in study


def headline(study: dict[str, Any]) -> str:
    """The study's outcome in a sentence: the smallest finding, and what it keeps of the oracle's score; with repeats,
    means over them. Empty for a study that looks for no minimal set.
    """
    if not searches(study):
        return ""
    number = smallest_finding(study)
    if number is None:
        everywhere = "in every repeat " if n_repeats(study) > 1 else ""
        return f"No finding: no set of neurons beats {what_is_beaten(study)} {everywhere}by more than its uncertainty."
    repeats, encoder = study.get("repeats"), study["encoder"]
    best = study["selection"][number] if "selection" in study else study
    spread = None
    if repeats is not None:
        spread = repeats["selection"][number] if "selection" in study else repeats
    n_neurons = encoder["n_layers"] * encoder["hidden_size"]
    size = Value(best["n_minimal"])
    if spread is not None:
        size = Value(spread["n_minimal"]["mean"], spread["n_minimal"]["sd"])
    scores, spread_of_scores = best["minimal_scores"], spread and spread["minimal_scores"]
    kept = value(scores, spread_of_scores, "test")
    oracle = value(study["oracle"], repeats and repeats["oracle"], "test")
    difference = to_oracle(scores, spread_of_scores)
    layers = ""
    if "top_layer" in best:
        tops = [best["top_layer"]] if spread is None else spread["top_layer"]["runs"]
        layers = f", from layers {layer_range(tops)} of {layer_range([encoder['n_layers'] - 1])},"
    ratio = f" {kept.mean / oracle.mean:.1%} of" if oracle.mean > 0 else ""
    low, high = difference.interval or (0.0, 0.0)
    of_repeats = f" Means ± standard deviations of {repeats['n']} repeats." if repeats is not None else ""
    metric = study["task"]["metric"].replace("_", " ").replace("corrcoef", "correlation")
    return (
        f"{size.text(0)} of {n_neurons:,} neurons ({size.mean / n_neurons:.1%}){layers} keep{ratio} the oracle's "
        f"{metric} on test: {_without_interval(kept)} of {_without_interval(oracle)}, a difference of "
        f"{difference.mean:+.3f} ({LEVEL:.0%} interval {low:+.3f} to {high:+.3f}).{of_repeats}"
    )


def layer_range(top_layers: list[Any]) -> str:
    """The layers up to the highest one, or to the lowest and the highest of several runs."""
    lowest, highest = int(min(top_layers)), int(max(top_layers))
    return _up_to(lowest) if lowest == highest else f"{_up_to(lowest)} to {_up_to(highest)}"


def mean_score(entry: dict[str, Any], spread: dict[str, Any] | None, split: str) -> float:
    """The score of a split, or the mean of its repeats."""
    return entry[split][OVERALL] if spread is None else spread[split]["mean"]


def _without_interval(score: Value) -> str:
    return Value(score.mean, score.sd).text()


def _up_to(layer: int) -> str:
    return f"0–{layer}" if layer else "0"
