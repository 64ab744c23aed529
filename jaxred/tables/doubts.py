"""What belongs under a table where its numbers mean little."""

from typing import Any

from jaxred.importing import IMPORTED
from jaxred.metrics import OVERALL

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
    """A sentence where probes of a study were still learning when training ended; else empty."""
    record = results["training"]
    n_probes = sum(not entry["converged"] for entry in record.values())
    return f"{n_probes:,} of {len(record):,} probes had not converged when training ended." if n_probes else ""


def _learnt_little(results: dict[str, Any]) -> str:
    majority, metric = results["task"].get("majority"), results["task"]["metric"]
    advice = f"these activations tell little about the task under this probe, and so does the selection.{_try(results)}"
    if majority is None:
        oracle = results["oracle"]["train"][OVERALL]
        if oracle > CORRELATED:
            return ""
        return f"The oracle's {metric.replace('_', ' ')} on its own training rows is {oracle:.3f}: {advice}"
    if metric != "accuracy":
        return ""
    accuracy = {split: (results["oracle"][split][OVERALL], majority["accuracy"][split]) for split in ("dev", "test")}
    low = [
        f"{split} accuracy ({oracle:.3f}) {'hardly beats' if oracle > baseline else 'does not beat'} the majority "
        f"class ({baseline:.3f})"
        for split, (oracle, baseline) in accuracy.items()
        if oracle <= baseline + LEARNT
    ]
    return f"The oracle's {', and its '.join(low)}: {advice}" if low else ""


def _try(results: dict[str, Any]) -> str:
    """What may help, of that which can still be chosen."""
    imported = results["task"].get("name") in IMPORTED
    ways = [] if imported else ["an encoder fine-tuned on the task"]
    ways += ["--config.extraction.pooling=mean"] if results.get("pooling") == "cls" else []
    ways += [] if results.get("solver") == "fista" else ["more --config.probe.epochs"]
    first = " Check that each row has its own label." if imported else ""
    return first + (f" Try {', '.join(ways[:-1])}{' or ' if ways[:-1] else ''}{ways[-1]}." if ways else "")


def _candidates_learnt_little(results: dict[str, Any]) -> str:
    majority = results["task"].get("majority")
    if majority is None or results["task"]["metric"] != "accuracy":
        return ""
    baseline = majority["accuracy"]["dev"]
    clustered = [entry for entry in results.get("selection", ()) if entry["clusters"] is not None]
    low = sorted({entry["threshold"] for entry in clustered if entry["base"]["dev"][OVERALL] <= baseline})
    if not low:
        return ""
    thresholds = ", ".join(f"{threshold:g}" for threshold in low)
    return (
        f"After clustering at {thresholds} the probe on all that is left does not beat the majority class on dev "
        f"({baseline:.3f}), so that its minimal set is none"
        f"{'' if results.get('solver') == 'fista' else MORE_TRAINING}."
    )


def _underfits(results: dict[str, Any]) -> str:
    oracle = f"layers-0-{len(results['incremental']) - 1}" if "incremental" in results else "oracle"
    record = results["training"][oracle]
    losses = record["losses"]
    if results.get("solver") == "fista":
        return (
            ""
            if record["converged"]
            else ("The oracle is not at its optimum: it had not reached probe.tolerance after probe.max_iterations.")
        )
    if len(losses) < 2 or losses[-2] - losses[-1] <= UNDERFIT * (losses[0] - losses[-1]):
        return ""
    return (
        f"The oracle underfits: its loss fell from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} epochs, and by "
        f"{losses[-2] - losses[-1]:.3f} still in the last. --config.probe.solver=fista finds the optimum; more "
        "--config.probe.epochs come closer to it."
    )


def _few_rows_select(results: dict[str, Any]) -> str:
    n_rows = results["task"].get("rows", {}).get("dev")
    chosen, names = results.get("selection", [results]), ("delta_layers", "delta_neurons", "delta")
    deltas = [entry[name] for entry in chosen for name in names if entry.get(name, 0) > 0]
    if n_rows is None or results["task"]["metric"] != "accuracy" or not deltas:
        return ""
    allowed = min(deltas) * results["oracle"]["dev"][OVERALL]  # points: a delta is a percentage of the score
    if 100 / n_rows <= allowed:
        return ""
    return (
        f"Dev has {n_rows:,} rows, one of which is {100 / n_rows:.2g} points of accuracy, more than the {allowed:.2g} "
        f"that δ {min(deltas):g} gives up: single rows decide what is selected. Take more rows, or see the spread by "
        "--config.repeats=10."
    )
