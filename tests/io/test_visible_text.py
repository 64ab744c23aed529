"""Names that others have chosen, in tables, reports and figures."""

import re

import pytest

from jaxred.io.tables import markdown
from jaxred.io.visible_text import visible
from jaxred.report.figures.style import named

NAMES = [
    "a|b",
    "a\\|b",
    "a\\\\|",
    "line\nbreak",
    "return\r",
    "\x1b[2Jred",
    "nul\0",
    "a\u2028b",
    "right\u202eleft",
    "--",
]


@pytest.mark.parametrize("name", ["plain", "naïve δ – ±", "日本", "a|b$c_d", "می\u200cخواهم"])
def test_letters_stay_as_they_are(name):
    assert visible(name) == name


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "a\x00", "soft\xadhyphen", "zero\u200bwidth", "\ud800", "\u2029"])
def test_what_is_no_letter_is_seen_and_names_that_look_alike_are_told_apart(name):
    shown = visible(name)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    assert shown != "".join(letter for letter in name if letter.isprintable())


@pytest.mark.parametrize("name", NAMES)
def test_a_tables_cells_stay_cells_whatever_they_hold(name):
    text = markdown([["", name], [name, "1"], ["other", "2"]])
    lines = text.split("\n")
    assert len(lines) == 4
    assert text.isprintable() or all(line.isprintable() for line in lines)
    cells = re.compile(r"(?:\\.|[^|\\])*")  # as GitHub reads them: a backslash takes the next letter with it
    for line in lines:
        inner = line.removeprefix("|").removesuffix("|")
        assert [match.end() for match in cells.finditer(inner) if match.group()][-1] == len(inner)
        assert len([match for match in cells.finditer(inner) if match.group()]) == 2, line
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) == set("|-: ")


@pytest.mark.parametrize("name", ["$x", r"$\frac$", "_hidden", "a\nb"])
def test_a_legend_shows_names_as_they_are(name, tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label=named(name))
    legend = axes.legend()
    assert len(legend.get_texts()) == 1
    figure.savefig(tmp_path / "legend.png")
