"""What belongs under a table where its numbers mean little."""

from jaxred.original.importing import IMPORTED
from jaxred.report.findings import constant, in_a_sentence, what_is_beaten
from jaxred.report.values import value
from jaxred.studies.results import ControlsResult, PipelineResult, ProbeStudy

LEARNT = 0.02  # by so much accuracy an oracle must beat the majority class to have learnt something worth selecting
CORRELATED = 0.1  # with the training scores an oracle must correlate by so much
MORE_TRAINING = ": take config.probe.solver=fista, or more config.probe.epochs"
UNDERFIT = 0.02  # an oracle whose last epoch brought more than this share of all it has learnt could learn more


def warning(study: ProbeStudy) -> str:
    """Sentences where the oracle has learnt little or could learn more, or too few rows select, so that what is
    selected means little; else empty.
    """
    learnt_little = _learnt_little(study) or _candidates_learnt_little(study)
    return " ".join(filter(None, (learnt_little, _underfits(study), _few_rows_select(study))))


def not_converged(study: ProbeStudy) -> str:
    """A sentence where probes of a study were still learning when training ended, or had not met the tolerance of
    their optimum; else empty.
    """
    if study.repeats is not None:
        n_probes, n_left = study.repeats.training.probes, study.repeats.training.not_converged
    else:
        n_probes, n_left = len(study.training), sum(not entry.converged for entry in study.training.values())
    if not n_left:
        return ""
    if study.solver == "fista":
        return (
            f"{n_left:,} of {n_probes:,} probes had not met probe.tolerance after probe.max_iterations: their scores "
            "are not those of the optimum."
        )
    return f"{n_left:,} of {n_probes:,} probes had not converged when training ended."


def control_warning(controls: ControlsResult) -> str:
    """A sentence where the control task is reached as well as the task by a minimal set; else empty."""
    minimal = controls.of("minimal")
    as_good = [entry for entry in minimal if entry.control_as_good]
    if not as_good:
        return ""
    names = ", ".join(f"{entry.n_neurons:,} neurons of layers 0–{entry.top_layer}" for entry in as_good)
    return (
        f"{len(as_good)} of {len(minimal)} minimal sets ({names}) score no higher on the task than on its control task "
        f"({controls.control}) by more than the uncertainty: what they score may be the probe's memory."
    )


def _oracle(study: ProbeStudy, split: str) -> float:
    return float(value(study.oracle, study.mean_oracle, split).mean)


def _learnt_little(study: ProbeStudy) -> str:
    answer, metric = constant(study), study.task.metric
    advice = f"these activations tell little about the task under this probe, and so does the selection.{_try(study)}"
    if answer is None:
        oracle = study.oracle.overall("train")
        if oracle <= CORRELATED:
            return f"The oracle's {metric.replace('_', ' ')} on its own training rows is {oracle:.3f}: {advice}"
    if answer is not None and metric == "accuracy":
        name, scores = answer
        beaten = in_a_sentence(name.split(" (")[0])
        accuracy = {split: (_oracle(study, split), scores[split].mean) for split in ("dev", "test")}
        low = [
            f"{split} accuracy ({oracle:.3f}) {'hardly beats' if oracle > baseline else 'does not beat'} {beaten} "
            f"({baseline:.3f})"
            for split, (oracle, baseline) in accuracy.items()
            if oracle <= baseline + LEARNT
        ]
        if low:
            return f"The oracle's {', and its '.join(low)}: {advice}"
    if int((study.mean_oracle or study.oracle).beats_constant) < study.n_runs:
        return (
            f"The oracle's dev {metric.replace('_', ' ')} ({_oracle(study, 'dev'):.3f}) does not beat "
            f"{what_is_beaten(study)} by more than its uncertainty: {advice}"
        )
    return ""


def _try(study: ProbeStudy) -> str:
    """What may help, of that which can still be chosen."""
    imported = study.task.name in IMPORTED
    ways = [] if imported else ["an encoder fine-tuned on the task"]
    ways += ["config.extraction.pooling=mean"] if study.pooling == "cls" else []
    ways += [] if study.solver == "fista" else ["more config.probe.epochs"]
    first = " Check that each row has its own label." if imported else ""
    return first + (f" Try {', '.join(ways[:-1])}{' or ' if ways[:-1] else ''}{ways[-1]}." if ways else "")


def _candidates_learnt_little(study: ProbeStudy) -> str:
    if not isinstance(study, PipelineResult):
        return ""
    low = set()
    for i, choice in enumerate(study.selection):
        base = choice.base if study.repeats is None else study.repeats.selection[i].base
        if choice.clusters is not None and int(base.beats_constant) < study.n_runs:
            low.add(choice.threshold)
    if not low:
        return ""
    thresholds = ", ".join(f"{threshold:g}" for threshold in sorted(low))
    return (
        f"After clustering at {thresholds} the probe on all that is left does not beat {what_is_beaten(study)} by "
        "more than its uncertainty, so that its minimal set is none"
        f"{'' if study.solver == 'fista' else MORE_TRAINING}."
    )


def _underfits(study: ProbeStudy) -> str:
    record = study.training[study.oracle_probe]
    losses = record.losses
    if study.solver == "fista":
        text = "The oracle is not at its optimum: it had not reached probe.tolerance after probe.max_iterations."
        return "" if record.converged else text
    if len(losses) < 2 or losses[-2] - losses[-1] <= UNDERFIT * (losses[0] - losses[-1]):
        return ""
    where = "The oracle" if study.repeats is None else "The oracle of the first repeat"
    return (
        f"{where} underfits: its loss fell from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} epochs, and by "
        f"{losses[-2] - losses[-1]:.3f} still in the last. config.probe.solver=fista finds the optimum; more "
        "config.probe.epochs come closer to it."
    )


def _few_rows_select(study: ProbeStudy) -> str:
    """Where the standard error of the oracle's dev score is more than a delta gives up."""
    deltas = [delta for chosen in study.minimal_sets for delta in chosen.deltas]
    if not deltas:
        return ""
    error = (study.mean_oracle or study.oracle).standard_error["dev"]
    allowed = min(deltas) / 100 * max(_oracle(study, "dev"), 0.0)  # a delta is a percentage of the score
    if error <= allowed:
        return ""
    advice = (
        "take more rows, or see the spread by config.repeats=10."
        if study.repeats is None
        else "the spread over repeats says how much."
    )
    return (
        f"Dev has {study.task.rows['dev']:,} rows: the standard error of the oracle's score there is "
        f"{100 * error:.2g} points, more than the {100 * allowed:.2g} that δ {min(deltas):g} gives up, so that chance "
        f"decides part of what is selected; {advice}"
    )
