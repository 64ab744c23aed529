"""The table of ablation: the share that can go by each order, the minimal set, and layers."""

from jaxred.io.tables import markdown
from jaxred.studies.results import Ablated, AblationResult, CanGo


def ablation_lines(result: AblationResult) -> list[tuple[list[list[str]], str]]:
    """Tables with their notes: what can go, and single sets and layers."""
    head = ["removed by", "can go at a loss of", "share", "95% interval"]
    can_go = [_can_go("neurons: ", entry) for entry in result.can_go]
    can_go += [_can_go("layers: ", entry) for entry in result.layers_can_go]
    metric = result.metric.replace("_", " ")
    note = (
        f"The model's own head on {result.n_rows:,} test rows: {metric} {result.whole:.3f} "
        f"[{result.whole_interval[0]:.3f}, {result.whole_interval[1]:.3f}]; neurons become {result.value}."
    )
    if not result.finding:
        note += " The model does not beat the best constant answer: no share is reported."
    single = [entry for entry in result.layers if entry.order.endswith(" alone")]
    lines = [["removed", "neurons or layers", metric, "95% interval", "less than the whole model by"]]
    lines += [_set(entry) for entry in [*result.sets, *single]]
    return [([head, *can_go], note), (lines, "Intervals are over test rows and, of random sets, draws.")]


def ablation_table(result: AblationResult) -> str:
    """The same as Markdown."""
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in ablation_lines(result))


def _can_go(what: str, entry: CanGo) -> list[str]:
    low, high = entry.interval
    return [f"{what}{entry.order}", f"{entry.loss:g}%", f"{entry.share:.0%}", f"{low:.0%} to {high:.0%}"]


def _set(entry: Ablated) -> list[str]:
    low, high = entry.interval
    below, above = (-end for end in reversed(entry.difference))
    return [
        entry.order,
        f"{entry.n_removed:,}",
        f"{entry.score:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{below:.3f} to {above:.3f}",
    ]
