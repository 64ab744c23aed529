"""The table of speed: the whole, and the smallest set that is a finding."""

from jaxred.io.tables import markdown
from jaxred.studies.results import SpeedResult


def speed_lines(result: SpeedResult) -> list[tuple[list[list[str]], str]]:
    """A line each for the whole and the small model, and how many times as fast the small one is."""
    lines = [["", "transformer layers", "neurons", "texts/s", "training the probe"]]
    for side, name in (("whole", "Whole"), ("small", result.set_name)):
        lines.append(
            [
                name,
                str(result.n_layers[side]),
                f"{result.n_neurons[side]:,}",
                f"{result.texts_per_second[side]:,.0f}",
                f"{result.training_seconds[side]:.2f} s",
            ]
        )
    lines.append(["Times as fast", "", "", f"{result.extraction:.2f}", f"{result.training:.1f}"])
    note = f"From text to answer, on {result.n_texts} test texts; training on {result.n_rows:,} rows; {result.device}."
    return [(lines, note)]


def speed_table(result: SpeedResult) -> str:
    """The same as Markdown, with its note."""
    ((lines, note),) = speed_lines(result)
    return f"{markdown(lines)}\n\n{note}"
