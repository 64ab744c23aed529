"""The table of controls, and what the pipeline's table shows of them."""

from collections.abc import Sequence
from typing import Any

from jaxred.io.tables import markdown
from jaxred.report.tables.probes import Row, cells, pipeline_head, pipeline_notes, rows
from jaxred.report.values import Value
from jaxred.report.warnings import control_warning
from jaxred.studies.results import ControlledProbe, ControlsResult, PipelineResult
from jaxred.studies.results.controls import WORD_TYPES

AS_GOOD = "control as good"
TITLES = {"layer": "Layer {0} alone", "layers": "Layers 0–{0}", "minimal": "Minimal set of layers 0–{0} ({1})"}


def controls_lines(result: ControlsResult) -> list[tuple[list[list[str]], str]]:
    """A line for every probe, and what its numbers are."""
    metric = result.task.metric
    head = ["", "neurons", f"test {metric}", "control, test", "selectivity", "control, train"]
    coded = result.entropy is not None
    head += ["usable bits", "code, kbits", "compression"] if coded else []
    lines = [head]
    for entry in result.probes:
        line = [_title(entry), f"{entry.n_neurons:,}", Value(entry.score["test"], None, entry.interval).text()]
        line += [f"{entry.control['test']:.3f}", selectivity(entry), f"{entry.control['train']:.3f}"]
        if coded:
            line += [_bits(entry), _number(entry.code), _number(entry.compression)]
        lines.append(line)
    return [(lines, _note(result))]


def controls_table(result: ControlsResult) -> str:
    """The same as Markdown, with its notes."""
    ((lines, note),) = controls_lines(result)
    doubt = control_warning(result)
    return f"{markdown(lines)}\n\n{note}" + (f"\nNote: {doubt}" if doubt else "")


def with_selectivity(
    head: Sequence[str], table: Sequence[Row], controls: ControlsResult | None
) -> tuple[list[str], list[list[str]]]:
    """The pipeline's table, with a column and marks of the controls where they were run."""
    lines = list(map(cells, table))
    if controls is None:
        return list(head), lines
    for line, row in zip(lines, table, strict=True):
        entry = controls.named(row.probe)
        line.append("" if entry is None else selectivity(entry))
        if entry is not None and entry.kind == "minimal" and entry.control_as_good:
            line[0] += f"{', ' if row.marks else ': '}{AS_GOOD}"
    return [*head, "selectivity" if controls.n_repeats == 1 else "selectivity, repeat 1"], lines


def pipeline_lines(pipeline: PipelineResult, controls: ControlsResult | None = None) -> list[list[str]]:
    """The pipeline's table; the first line is its head."""
    head, lines = with_selectivity(pipeline_head(pipeline), rows(pipeline), controls)
    return [head, *lines]


def pipeline_table(pipeline: PipelineResult, controls: ControlsResult | None = None) -> str:
    """The pipeline's outcome as a Markdown table with its notes."""
    text = f"{markdown(pipeline_lines(pipeline, controls))}\n\n{pipeline_notes(pipeline, rows(pipeline))}"
    doubt = control_warning(controls) if controls else ""
    return f"{text}\nNote: {doubt}" if doubt else text


def numbers_with_selectivity(pipeline: PipelineResult, controls: ControlsResult | None) -> list[dict[str, Any]]:
    """The pipeline's rows for a program, with selectivity and its interval where controls were run."""
    lines = pipeline.rows()
    if controls is None:
        return lines
    layers = range(len(pipeline.incremental))
    names = [pipeline.oracle_probe, *(f"layer-{layer}" for layer in layers), *(f"layers-0-{layer}" for layer in layers)]
    names += [f"layers-0-{choice.top_layer}" for choice in pipeline.layer_selection]
    names += [choice.minimal_probe for choice in pipeline.selection]
    for line, name in zip(lines, names, strict=True):
        if (entry := controls.named(name)) is not None:
            low, high = entry.selectivity.interval
            line |= {"selectivity": entry.selectivity.difference, "selectivity_low": low, "selectivity_high": high}
    return lines


def selectivity(entry: ControlledProbe) -> str:
    """With its interval."""
    return Value(entry.selectivity.difference, None, entry.selectivity.interval).text()


def _title(entry: ControlledProbe) -> str:
    title = TITLES[entry.kind].format(entry.top_layer, entry.probe)
    marks = [] if entry.finding else ["no finding"]
    marks += [AS_GOOD] if entry.control_as_good else []
    return f"{title}: {', '.join(marks)}" if marks else title


def _bits(entry: ControlledProbe) -> str:
    return "" if entry.information is None else Value(entry.information, None, entry.information_interval).text()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _note(result: ControlsResult) -> str:
    what = "every word type has one label, drawn from the task's shares"
    if result.control != WORD_TYPES:
        what = "labels are permuted over the rows of each split, so that test is at chance and train shows memory"
    parts = [f"Control task: {what} (seed {result.seed}). Selectivity: the score on test less the control's there."]
    if result.constant_control is not None:
        parts.append(f"The best constant answer scores {result.constant_control:.3f} on the control task.")
    if result.entropy is not None and result.uniform_code is not None:
        parts.append(
            f"H(Y) is {result.entropy:.3f} bits by train's class shares. Codes are online, of {len(result.portions)} "
            f"portions of train; without a probe the labels take {result.uniform_code:.3f} kbits."
        )
    else:
        parts.append("Scores have no code and no usable information in bits.")
    for split, entry in result.expected_layer.items():
        if entry.finding and entry.layer is not None:
            shown = Value(entry.layer, None, entry.interval).text(2)
            parts.append(f"Expected layer on {split}: {shown}.")
        else:
            parts.append(f"Expected layer on {split}: none, as layers gain no more than the uncertainty of their gain.")
    parts.append("In brackets, 95% bootstrap intervals over the rows.")
    if result.n_repeats > 1:
        parts.append(f"Of the first of {result.n_repeats} repeats.")
    return " ".join(parts)
