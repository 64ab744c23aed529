"""What belongs under a table where its numbers mean little."""

from typing import Any

from jaxred.original.importing import IMPORTED
from jaxred.probing.metrics import OVERALL
from jaxred.report.findings import constant, in_a_sentence, mean_score, n_repeats, what_is_beaten

LEARNT = 0.02  # by so much accuracy an oracle must beat the majority class to have learnt something worth selecting
CORRELATED = 0.1  # with the training scores an oracle must correlate by so much
MORE_TRAINING = ": take --config.probe.solver=fista, or more --config.probe.epochs"
UNDERFIT = 0.02  # an oracle whose last epoch brought more than this share of all it has learnt could learn more


def warning(results: dict[str, Any]) -> str:
    """Sentences where the oracle has learnt little or could learn more, or too few rows select, so that what is
    selected means little; else empty. The results are those of a pipeline, or of a minimal set out of all neurons.
    """
    learnt_little = _learnt_little(results) or _candidates_learnt_little(results)
    return " ".join(filter(None, (learnt_little, _underfits(results), _few_rows_select(results))))


def not_converged(results: dict[str, Any]) -> str:
    """A sentence where probes of a study were still learning when training ended, or had not met the tolerance of
    their optimum; else empty.
    """
    if "repeats" in results:
        found = results["repeats"]["training"]
        n_probes, n_left = found["probes"], found["not_converged"]
    else:
        record = results["training"]
        n_probes, n_left = len(record), sum(not entry["converged"] for entry in record.values())
    if not n_left:
        return ""
    if results.get("solver") == "fista":
        return (
            f"{n_left:,} of {n_probes:,} probes had not met probe.tolerance after probe.max_iterations: their scores "
            "are not those of the optimum."
        )
    return f"{n_left:,} of {n_probes:,} probes had not converged when training ended."


def _oracle(results: dict[str, Any], split: str) -> float:
    return mean_score(results["oracle"], results.get("repeats", {}).get("oracle"), split)


def _learnt_little(results: dict[str, Any]) -> str:
    majority, metric = results["task"].get("majority"), results["task"]["metric"]
    advice = f"these activations tell little about the task under this probe, and so does the selection.{_try(results)}"
    if majority is None:
        oracle = results["oracle"]["train"][OVERALL]
        if oracle <= CORRELATED:
            return f"The oracle's {metric.replace('_', ' ')} on its own training rows is {oracle:.3f}: {advice}"
    if majority is not None and metric == "accuracy":
        name, scores = constant(results) or ("", {})
        beaten = in_a_sentence(name.split(" (")[0])
        accuracy = {split: (_oracle(results, split), scores[split].mean) for split in ("dev", "test")}
        low = [
            f"{split} accuracy ({oracle:.3f}) {'hardly beats' if oracle > baseline else 'does not beat'} {beaten} "
            f"({baseline:.3f})"
            for split, (oracle, baseline) in accuracy.items()
            if oracle <= baseline + LEARNT
        ]
        if low:
            return f"The oracle's {', and its '.join(low)}: {advice}"
    beats = results.get("repeats", results)["oracle"]["beats_constant"]
    if int(beats) < n_repeats(results):
        return (
            f"The oracle's dev {metric.replace('_', ' ')} ({_oracle(results, 'dev'):.3f}) does not beat "
            f"{what_is_beaten(results)} by more than its uncertainty: {advice}"
        )
    return ""


def _try(results: dict[str, Any]) -> str:
    """What may help, of that which can still be chosen."""
    imported = results["task"].get("name") in IMPORTED
    ways = [] if imported else ["an encoder fine-tuned on the task"]
    ways += ["--config.extraction.pooling=mean"] if results.get("pooling") == "cls" else []
    ways += [] if results.get("solver") == "fista" else ["more --config.probe.epochs"]
    first = " Check that each row has its own label." if imported else ""
    return first + (f" Try {', '.join(ways[:-1])}{' or ' if ways[:-1] else ''}{ways[-1]}." if ways else "")


def _candidates_learnt_little(results: dict[str, Any]) -> str:
    low, n_runs = set(), n_repeats(results)
    for i, entry in enumerate(results.get("selection", ())):
        base = results["repeats"]["selection"][i]["base"] if n_runs > 1 else entry["base"]
        if entry["clusters"] is not None and int(base["beats_constant"]) < n_runs:
            low.add(entry["threshold"])
    if not low:
        return ""
    thresholds = ", ".join(f"{threshold:g}" for threshold in sorted(low))
    return (
        f"After clustering at {thresholds} the probe on all that is left does not beat {what_is_beaten(results)} by "
        "more than its uncertainty, so that its minimal set is none"
        f"{'' if results.get('solver') == 'fista' else MORE_TRAINING}."
    )


def _underfits(results: dict[str, Any]) -> str:
    oracle = f"layers-0-{len(results['incremental']) - 1}" if "incremental" in results else "oracle"
    record = results["training"][oracle]
    losses = record["losses"]
    if results.get("solver") == "fista":
        text = "The oracle is not at its optimum: it had not reached probe.tolerance after probe.max_iterations."
        return "" if record["converged"] else text
    if len(losses) < 2 or losses[-2] - losses[-1] <= UNDERFIT * (losses[0] - losses[-1]):
        return ""
    where = "The oracle of the first repeat" if "repeats" in results else "The oracle"
    return (
        f"{where} underfits: its loss fell from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} epochs, and by "
        f"{losses[-2] - losses[-1]:.3f} still in the last. --config.probe.solver=fista finds the optimum; more "
        "--config.probe.epochs come closer to it."
    )


def _few_rows_select(results: dict[str, Any]) -> str:
    """Where the standard error of the oracle's dev score is more than a delta gives up."""
    n_rows = results["task"].get("rows", {}).get("dev")
    chosen, names = results.get("selection", [results]), ("delta_layers", "delta_neurons", "delta")
    deltas = [entry[name] for entry in chosen for name in names if name in entry]
    if n_rows is None or not deltas:
        return ""
    error = results.get("repeats", results)["oracle"]["standard_error"]["dev"]
    allowed = min(deltas) / 100 * max(_oracle(results, "dev"), 0.0)  # a delta is a percentage of the score
    if error <= allowed:
        return ""
    advice = (
        "the spread over repeats says how much."
        if "repeats" in results
        else "take more rows, or see the spread by --config.repeats=10."
    )
    return (
        f"Dev has {n_rows:,} rows: the standard error of the oracle's score there is {100 * error:.2g} points, more "
        f"than the {100 * allowed:.2g} that δ {min(deltas):g} gives up, so that chance decides part of what is "
        f"selected; {advice}"
    )
