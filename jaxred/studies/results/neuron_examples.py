"""What neurons respond to: `jaxred.studies.neuron_examples`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jaxred.io.records import OPTIONAL
from jaxred.studies.results.base import Result


@dataclass(frozen=True)
class NeuronExample:
    """A word type or a sentence for which a neuron is large or small."""

    text: str  # a long one is shortened; "row 17" where there is no text
    row: int  # of the activations; of a word type, the first one
    n: int  # rows: occurrences of a word type, and 1 for a sentence
    value: float  # the activation, or its mean over the rows
    z: float  # deviations of the neuron above its mean over all rows
    error: float | None = None  # standard error of z for this word type; None for one row


@dataclass(frozen=True)
class NeuronClass:
    """A neuron in the rows of one class."""

    label: str
    n: int  # rows
    mean: float | None  # None for a class without rows
    deviation: float | None
    effect: float | None  # Cohen's d: mean of the class less that of the other rows, by their pooled deviation
    interval: tuple[float, float] | None  # of 95%, for independent rows
    largest: list[NeuronExample]
    smallest: list[NeuronExample]


@dataclass(frozen=True)
class NeuronProfile:
    """A neuron: its distribution, its largest and smallest examples, and its classes."""

    layer: int  # 0 is the embedding output
    index: int  # in that layer
    mean: float
    deviation: float  # 0 for a constant neuron, which has no examples
    largest: list[NeuronExample]
    smallest: list[NeuronExample]
    classes: list[NeuronClass]  # none for scores, and for rows without labels
    correlation: float | None = field(default=None, metadata=OPTIONAL)  # with the score

    @property
    def strongest_class(self) -> NeuronClass | None:
        """The class of the largest effect whose interval leaves out 0."""
        certain = [each for each in self.classes if each.interval and each.interval[0] * each.interval[1] > 0]
        return max(certain, key=lambda each: abs(each.effect or 0), default=None)


@dataclass(frozen=True, kw_only=True, repr=False)
class NeuronExamples(Result):
    """The words or sentences with the largest and the smallest activations of some neurons.

    A word's activation is the mean over its type: all words of the same letters, upper and lower case kept apart.

    Example:
        >>> found = jaxred.top_words("runs/chunk", ["4:17"])
        >>> found
        <NeuronExamples: 1 neuron, its largest and smallest 10 words, over 17,215 rows of train>
        >>> found.neurons[0].largest[0].text, found.to_frame()
    """

    name: ClassVar[str] = "neurons"

    unit: str  # word (a type), sentence, or row (of which no text is known)
    split: str  # of the rows; empty for activations that are of none
    n_rows: int
    k: int
    min_count: int  # the fewest rows of a word type
    left_out: int  # neurons of the minimal set that were not looked at
    neurons: list[NeuronProfile]

    def __repr__(self) -> str:
        n = len(self.neurons)
        whose = "neuron, its" if n == 1 else "neurons, their"
        of = f" of {self.split}" if self.split else ""
        return (
            f"<NeuronExamples: {n:,} {whose} largest and smallest {self.k} {self.unit}s, over {self.n_rows:,} rows{of}>"
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row per neuron and example, overall (the class is empty) and in each class."""
        return [row for neuron in self.neurons for row in _rows(neuron)]


def _rows(neuron: NeuronProfile) -> Iterator[dict[str, Any]]:
    groups = [("", neuron.largest, neuron.smallest)]
    groups += [(each.label, each.largest, each.smallest) for each in neuron.classes]
    for label, *ends in groups:
        for end, examples in zip(("largest", "smallest"), ends, strict=True):
            for place, example in enumerate(examples, 1):
                where = {"layer": neuron.layer, "index": neuron.index, "class": label, "end": end, "place": place}
                yield {**where, **vars(example)}
