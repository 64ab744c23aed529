"""The tables of fine-tuning: epochs, and what is found before and after."""

import numpy as np

from jaxred.io.tables import markdown
from jaxred.probing.resampling import LEVEL
from jaxred.report.tables.layer_measures import TITLES, number
from jaxred.report.values import Value
from jaxred.studies.before_after import BEST_LAYER
from jaxred.studies.results import BeforeAfter, FineTuningResult, MeasureOfBoth, SetOfOne

Table = tuple[list[list[str]], str]


def finetuning_lines(result: FineTuningResult) -> list[Table]:
    """A line per epoch, and what the kept weights score."""
    metric = result.metric.replace("_", " ")
    lines = [["epoch", "mean loss", f"dev {metric}", f"test {metric}"]]
    for epoch, loss, dev in result.rows_of_epochs():
        kept = epoch == result.best_epoch
        test = Value(result.test, None, result.test_interval).text() if kept and result.test is not None else ""
        lines.append([f"{epoch} (kept)" if kept else str(epoch), f"{loss:.4f}", f"{dev:.3f}", test])
    rows = ", ".join(f"{n:,} {split}" for split, n in result.n_rows.items())
    note = (
        f"{result.n_layers} transformer layers and the head, {result.n_parameters:,} parameters; rows: {rows}; "
        f"{result.n_steps:,} steps. [ ]: {LEVEL:.0%} bootstrap interval over test rows."
    )
    if result.constant:
        note += f" The best constant answer: {result.constant['dev']:.3f} on dev"
        note += f", {result.constant['test']:.3f} on test." if "test" in result.constant else "."
    return [(lines, note)]


def before_after_lines(result: BeforeAfter) -> list[Table]:
    """A line per rule: what it keeps of the pretrained encoder, and of the fine-tuned one."""
    metric = result.metric.replace("_", " ")
    sides = ("before", "after")
    heads = [f"{name}, {side}" for name in ("layers", "neurons", f"test {metric}") for side in sides]
    lines = [["", *heads]]
    deltas: dict[tuple[str, str], dict[tuple[str, ...], list[str]]] = {}  # by rule, and by what its line says
    for entry in result.sets:
        both = entry.before, entry.after
        layers = [f"{side.top_layer:g}" if entry.rule == BEST_LAYER else _layers(side) for side in both]
        cells = (*layers, *(form(side) for form in (_neurons, _score) for side in both))
        deltas.setdefault((entry.rule, entry.clustering), {}).setdefault(cells, []).append(entry.delta)
    for (rule, clustering), by_cells in deltas.items():
        for cells, of_line in by_cells.items():
            details = [f"δ {', '.join(of_line)}"] if of_line[0] else []
            details += [clustering] if clustering else []
            lines.append([f"{rule} ({'; '.join(details)})" if details else rule, *cells])
    note = f"[ ]: {LEVEL:.0%} bootstrap interval over test rows. *: no finding."
    return [(lines, note), *([(_changes(result), CHANGES)] if result.measures else [])]


CHANGES = (
    "Measures without labels of each layer, before -> after (CKA, Procrustes, mutual kNN and angular distance: to the "
    "layer before it). Bold: the values of the two halves of the sentences do not overlap between before and after."
)


def _changes(result: BeforeAfter) -> list[list[str]]:
    """A line per layer: every measure before and after."""
    n_layers = max(len(both.after.whole) for both in result.measures.values())
    lines = [["layer", *(TITLES[name] for name in result.measures)]]
    for layer in range(n_layers):
        lines.append([str(layer), *(_change(both, layer) for both in result.measures.values())])
    return lines


def _change(both: MeasureOfBoth, layer: int) -> str:
    if layer >= min(len(both.before.whole), len(both.after.whole)):
        return "–"
    before, after = (float(side.whole[layer]) for side in (both.before, both.after))
    if np.isnan(before) or np.isnan(after):
        return "–"
    halves = [[float(half[layer]) for half in side.halves] for side in (both.before, both.after)]
    apart = bool(halves[0] and halves[1]) and (max(halves[0]) < min(halves[1]) or max(halves[1]) < min(halves[0]))
    text = f"{number(before)} -> {number(after)}"
    return f"**{text}**" if apart else text


def _layers(side: SetOfOne) -> str:
    return f"0–{side.top_layer:g}" if side.top_layer else "0"


def _neurons(side: SetOfOne) -> str:
    return f"{side.n_neurons:,.0f} ({side.share:.1%})"


def _score(side: SetOfOne) -> str:
    return Value(side.test, None, side.interval).text() + ("" if side.finding else " *")


def finetuning_table(result: FineTuningResult) -> str:
    """Epochs, as Markdown with its note."""
    return _printed(finetuning_lines(result))


def before_after_table(result: BeforeAfter) -> str:
    """Both sides, as Markdown with its note."""
    return _printed(before_after_lines(result))


def _printed(tables: list[Table]) -> str:
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in tables)
