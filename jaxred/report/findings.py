"""What a study of probes found: which sets are findings, and the smallest in a sentence.

A set of neurons that does not beat the best constant answer on dev by more than its uncertainty is no finding,
whatever the rules of selection accepted.
"""

from collections.abc import Sequence
from statistics import mean

from jaxred.probing.resampling import LEVEL
from jaxred.report.values import Value, of_spread, to_oracle, value
from jaxred.studies.results import MeanScores, MinimalSet, PipelineResult, ProbeScores, ProbeStudy

NO_FINDING = "no finding"
MAJORITY, BEST_CONSTANT = "Majority class", "Best constant answer"


def mark(n_findings: int, n_runs: int) -> str:
    """How an entry is marked, of whose runs so many are findings; empty where all are."""
    if n_findings == n_runs:
        return ""
    return NO_FINDING if n_findings == 0 else f"{NO_FINDING} in {n_runs - n_findings} of {n_runs} repeats"


def mark_of_scores(scores: ProbeScores, over_repeats: MeanScores | None, n_runs: int) -> str:
    """The mark of a probe by its own scores."""
    return mark(int((scores if over_repeats is None else over_repeats).beats_constant), n_runs)


def constant(study: ProbeStudy) -> tuple[str, dict[str, Value]] | None:
    """The name of the best constant answer, and its scores by split; None for regression."""
    answer, majority = study.task.constant, study.task.majority
    if answer is None:
        return None
    spread = None if study.repeats is None else study.repeats.constant
    if spread is not None:  # each repeat has its own
        return BEST_CONSTANT, {split: Value(entry.mean, entry.sd or None) for split, entry in spread.items()}
    most = majority is not None and answer.label == majority.label
    name = f"{MAJORITY} ({answer.label})" if most else f"Always the class {answer.label}"
    return name, {split: Value(score) for split, score in answer.scores.items()}


def what_is_beaten(study: ProbeStudy) -> str:
    """What a finding must beat on dev, in words."""
    answer = constant(study)
    if answer is None:
        return "a correlation of 0"
    name, scores = answer
    return f"{in_a_sentence(name)}, {scores['dev'].mean:.3f} on dev,"


def in_a_sentence(name: str) -> str:
    """The name of a constant answer within a sentence."""
    article = "the " if name.startswith((MAJORITY, BEST_CONSTANT)) else ""
    return f"{article}{name[0].lower()}{name[1:]}"


def no_finding_note(study: ProbeStudy, marks: Sequence[str]) -> str:
    """What the marks mean; empty where nothing is marked."""
    if not any(marks):
        return ""
    return f'"{NO_FINDING.capitalize()}" marks what does not beat {what_is_beaten(study)} by more than its uncertainty.'


def smallest_finding(study: ProbeStudy) -> int | None:
    """The number of the smallest of `study.minimal_sets` that is a finding in every repeat, or None."""
    sizes = {
        i: (chosen.n_neurons.mean, mean(chosen.top_layers or [0]))
        for i, chosen in enumerate(study.minimal_sets)
        if chosen.n_findings == study.n_runs
    }
    return min(sizes, key=lambda i: sizes[i]) if sizes else None


def headline(study: ProbeStudy) -> str:
    """The study's outcome in a sentence: the smallest finding, and what it keeps of the oracle's score; with repeats,
    means over them. Empty for a study that looks for no minimal set.
    """
    if not study.minimal_sets:
        return ""
    number = smallest_finding(study)
    if number is None:
        everywhere = "in every repeat " if study.n_runs > 1 else ""
        return f"No finding: no set of neurons beats {what_is_beaten(study)} {everywhere}by more than its uncertainty."
    best, (n_layers, hidden_size) = study.minimal_sets[number], study.shape
    n_neurons = n_layers * hidden_size
    size = of_spread(best.n_neurons, study.n_runs)
    kept = value(best.scores, best.mean, "test")
    oracle = value(study.oracle, study.mean_oracle, "test")
    difference = to_oracle(best.scores, best.mean)
    layers = ""
    if best.top_layers is not None:
        layers = f", from layers {layer_range(best.top_layers)} of {layer_range([n_layers - 1])},"
    ratio = f" {kept.mean / oracle.mean:.1%} of" if oracle.mean > 0 else ""
    low, high = difference.interval or (0.0, 0.0)
    of_repeats = f" Means ± standard deviations of {study.n_runs} repeats." if study.repeats is not None else ""
    metric = study.task.metric.replace("_", " ").replace("corrcoef", "correlation")
    return (
        f"{size.text(0)} of {n_neurons:,} neurons ({size.mean / n_neurons:.1%}){layers} keep{ratio} the oracle's "
        f"{metric} on test: {_without_interval(kept)} of {_without_interval(oracle)}, a difference of "
        f"{difference.mean:+.3f} ({LEVEL:.0%} interval {low:+.3f} to {high:+.3f}).{of_repeats}"
    )


def minimal_set_names(study: ProbeStudy) -> list[tuple[str, MinimalSet]]:
    """The minimal sets of a study with their names: their deltas and, in the pipeline, the clustering."""
    names = []
    for i, chosen in enumerate(study.minimal_sets):
        name = f"δ {'/'.join(f'{delta:g}' for delta in chosen.deltas)}"
        if isinstance(study, PipelineResult):
            choice = study.selection[i]
            name += "; no clustering" if choice.clusters is None else f"; clustering {choice.threshold:g}"
        names.append((name, chosen))
    return names


def layer_range(top_layers: Sequence[float | int]) -> str:
    """The layers up to the highest one, or to the lowest and the highest of several runs."""
    lowest, highest = int(min(top_layers)), int(max(top_layers))
    return _up_to(lowest) if lowest == highest else f"{_up_to(lowest)} to {_up_to(highest)}"


def _without_interval(score: Value) -> str:
    return Value(score.mean, score.sd).text()


def _up_to(layer: int) -> str:
    return f"0–{layer}" if layer else "0"
