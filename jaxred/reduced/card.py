"""The card of a reduced model: what was left out, what that costs and saves, and what made it."""

from dataclasses import dataclass

from jaxred.reduced.parts import Facts, Made


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    n_layers: int  # transformer layers
    n_neurons: int  # that the head reads
    n_parameters: int  # of embeddings, layers and head
    n_bytes: int  # of these


@dataclass(frozen=True)
class CardScores:
    """The scores of a probe as the run reports them."""

    dev: float
    dev_standard_error: float
    test: float
    test_interval: tuple[float, float]


@dataclass(frozen=True)
class Speed:
    """Texts per second of both models, measured one after the other on the same texts and machine."""

    whole: float
    small: float
    n_texts: int
    device: str


@dataclass(frozen=True)
class Card:
    """What to know about a reduced model; as text, it is Markdown."""

    name: str  # of the set of neurons
    finding: bool | None  # whether it is one; None: that is not known of this set
    whole: Size
    small: Size
    scores: dict[str, CardScores]  # of "whole" and "small", so far as the run has them
    speed: Speed | None
    facts: Facts
    made: Made

    def __str__(self) -> str:
        facts, whole, small = self.facts, self.whole, self.small
        lines = [
            f"# {facts.task}: {small.n_neurons:,} of {whole.n_neurons:,} neurons",
            "",
            f"The first {small.n_layers} of {whole.n_layers} layers of {self.made.encoder}, and a linear head on "
            f"{small.n_neurons:,} of their neurons ({self.name}).",
            "",
            self.markdown_table(),
            "",
            *self._notes(),
            "",
            "## What was left out",
            "",
            f"- {_layers(small.n_layers + 1, whole.n_layers)}",
            f"- {whole.n_neurons - small.n_neurons:,} neurons, which the head does not read",
            f"- {1 - small.n_parameters / whole.n_parameters:.1%} of the parameters",
            "",
            "## Use",
            "",
            "```python",
            "import jaxred",
            "",
            'model = jaxred.load_reduced("this folder")',
            f"model.predict({self._example()})",
            "```",
            "",
            f"Task: {facts.kind}; {self._what()}; at most {facts.max_length} tokens; pooling: {facts.pooling}.",
            "",
            f"Made by jaxred {self.made.jaxred} on {self.made.date} from the run {self.made.run}.",
            "",
        ]
        return "\n".join(lines)

    def markdown_table(self) -> str:
        """Scores, sizes and speed of the whole encoder and of the small model."""
        rows = [("", "whole", "small"), ("---", "---", "---"), *self._rows()]
        return "\n".join(f"| {name} | {left} | {right} |" for name, left, right in rows)

    def _rows(self) -> list[tuple[str, str, str]]:
        whole, small, scores = self.whole, self.small, self.scores
        metric = self.facts.metric.replace("_", " ").replace("corrcoef", "correlation")
        rows = [
            (f"{metric}, {split}", _score(scores.get("whole"), split), _score(scores.get("small"), split))
            for split in ("dev", "test")
        ]
        rows += [
            ("layers", f"{whole.n_layers:,}", f"{small.n_layers:,}"),
            ("neurons of the head", f"{whole.n_neurons:,}", f"{small.n_neurons:,}"),
            ("parameters", f"{whole.n_parameters:,}", f"{small.n_parameters:,}"),
            ("megabytes of weights", f"{whole.n_bytes / 1e6:,.1f}", f"{small.n_bytes / 1e6:,.1f}"),
        ]
        if self.speed is not None:
            rows.append(("texts per second", f"{self.speed.whole:,.0f}", f"{self.speed.small:,.0f}"))
        return rows

    def _notes(self) -> list[str]:
        notes = ["Scores of dev with their standard error, of test with their 95% bootstrap interval."]
        if self.speed is not None:
            notes.append(f"Speed: {self.speed.n_texts:,} texts on {self.speed.device}, tokenizing included, medians.")
        if self.finding is False:
            notes.append(
                "**No finding**: it does not beat the best constant answer on dev by more than its uncertainty."
            )
        return notes

    def _what(self) -> str:
        if not self.facts.classes:
            return "a score"
        names = ", ".join(self.facts.classes[:20]) + (", ..." if len(self.facts.classes) > 20 else "")
        return f"{len(self.facts.classes)} classes: {names}"

    def _example(self) -> str:
        if self.facts.rows == "word":
            return '[["a", "fine", "film"]]'
        return '[("a fine film", "a good one")]' if self.facts.pairs else '["a fine film"]'


def _layers(first: int, last: int) -> str:
    if first > last:
        return "no layer"
    return f"layer {last}" if first == last else f"layers {first} to {last}"


def _score(scores: CardScores | None, split: str) -> str:
    if scores is None:
        return "–"
    if split == "dev":
        return f"{scores.dev:.3f} ± {scores.dev_standard_error:.3f}"
    return "{:.3f} [{:.3f}, {:.3f}]".format(scores.test, *scores.test_interval)
