"""What neurons respond to, as a table and as the page's notes."""

from typing import NamedTuple

from jaxred.io.tables import markdown
from jaxred.studies.results import NeuronExample, NeuronExamples, NeuronProfile

MOST_SHOWN = 30  # neurons on the page and in the printed table; neurons.csv has all
OF_EACH = 5  # examples in a cell of the table
MOST_LETTERS = {"word": 40, "sentence": 90, "row": 40}  # of an example that is shown


class Note(NamedTuple):
    """What the page says of a neuron."""

    name: str
    about: str
    ends: list[tuple[str, list[tuple[str, str]]]]  # examples with their sizes


def neurons_lines(examples: NeuronExamples) -> list[list[str]]:
    """One line per neuron; the first line is the head."""
    classes = any(neuron.classes for neuron in examples.neurons)
    scores = any(neuron.correlation is not None for neuron in examples.neurons)
    n = 1 if examples.unit == "sentence" else OF_EACH
    head = ["neuron", *(["class (effect)"] if classes else ["correlation"] if scores else [])]
    lines = [[*head, f"largest {examples.unit}s (z)", f"smallest {examples.unit}s (z)"]]
    for neuron in examples.neurons[:MOST_SHOWN]:
        label = [_class(neuron)] if classes else [_correlation(neuron)] if scores else []
        ends = (neuron.largest, neuron.smallest)
        cells = [", ".join(f"{shown(each, examples.unit)} ({each.z:+.1f})" for each in end[:n]) or "–" for end in ends]
        lines.append([f"{neuron.layer}:{neuron.index}", *label, *cells])
    return lines


def neurons_table(examples: NeuronExamples) -> str:
    """The same as Markdown, with its note."""
    lines = neurons_lines(examples)
    return f"{markdown(lines, len(lines[0]))}\n\n{neurons_note(examples)}"


def neurons_note(examples: NeuronExamples) -> str:
    """What the numbers are."""
    of = f" {examples.split}" if examples.split else ""
    parts = [f"Over {examples.n_rows:,}{of} rows; neurons are layer:index, layer 0 the embedding output."]
    if examples.unit == "word":
        parts.append(
            f"A word counts by the mean over all its occurrences, of which there must be {examples.min_count} or more."
        )
    if examples.unit == "row":
        parts.append("The text of the rows is not known, so that they have their numbers, from 0.")
    parts.append("z: deviations of the neuron above its mean over all rows.")
    if any(neuron.classes for neuron in examples.neurons):
        parts.append(
            "Effect: mean in the class less mean in the other rows, by their pooled deviation (Cohen's d, with its 95% "
            "interval as if rows were independent); shown is the class of the largest, where its interval leaves out 0."
        )
    if any(neuron.correlation is not None for neuron in examples.neurons):
        parts.append("Correlation: Pearson's, with the score.")
    if len(examples.neurons) > MOST_SHOWN:
        parts.append(f"Of {len(examples.neurons):,} neurons the first {MOST_SHOWN} are shown; neurons.csv has all.")
    if examples.left_out:
        parts.append(f"{examples.left_out:,} neurons of the set, its least salient ones, were not looked at.")
    return " ".join(parts)


def neuron_notes(examples: NeuronExamples) -> list[Note]:
    """What the page says of the first neurons."""
    notes = []
    for neuron in examples.neurons[:MOST_SHOWN]:
        about = f"mean {neuron.mean:.3g}, deviation {neuron.deviation:.3g}"
        if neuron.classes:
            about += f"; {_class(neuron)}"
        elif neuron.correlation is not None:
            about += f"; correlation {_correlation(neuron)}"
        ends = [
            (name, [(shown(each, examples.unit), _size(each)) for each in end])
            for name, end in (("largest", neuron.largest), ("smallest", neuron.smallest))
            if end
        ]
        notes.append(Note(f"{neuron.layer}:{neuron.index}", about, ends))
    return notes


def shown(example: NeuronExample, unit: str) -> str:
    """The text of an example, shortened; quotation marks stand around what is empty or ends in blanks."""
    most = MOST_LETTERS[unit]
    text = example.text if len(example.text) <= most else f"{example.text[: most - 1].rstrip()}…"
    return text if text == text.strip() != "" else f"“{text}”"


def _size(example: NeuronExample) -> str:
    if example.error is None:
        return f"{example.z:+.1f}"
    return f"{example.z:+.1f} ± {example.error:.1f}, {example.n:,}×"


def _class(neuron: NeuronProfile) -> str:
    most = neuron.strongest_class
    if most is None or most.interval is None:
        return "no class differs" if neuron.deviation else "constant"
    return f"{most.label} ({most.effect:+.2f} [{most.interval[0]:+.2f}, {most.interval[1]:+.2f}])"


def _correlation(neuron: NeuronProfile) -> str:
    return "–" if neuron.correlation is None else f"{neuron.correlation:+.3f}"
