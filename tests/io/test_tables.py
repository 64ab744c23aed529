import csv
import io
import math

from hypothesis import given
from hypothesis import strategies as st

from jaxred.io.tables import as_csv, latex, markdown

LINES = [["name", "a_b", "share"], ["50% & more", "1,234", "10.0%"], ["{x}#~^\\", "δ ± –", "$"]]


def test_latex_escapes_what_it_would_read():
    assert latex(LINES).splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"name & a\_b & share \\",
        r"\midrule",
        r"50\% \& more & 1,234 & 10.0\% \\",
        r"\{x\}\#\textasciitilde{}\textasciicircum{}\textbackslash{} & $\delta$ $\pm$ -- & \$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@given(st.lists(st.lists(st.text(max_size=5), min_size=3, max_size=3), min_size=1, max_size=4))
def test_every_writer_has_a_line_per_line(lines):
    assert len(markdown(lines).splitlines()) == len(lines) + 1
    assert sum(line.endswith(r" \\") for line in latex(lines).splitlines()) == len(lines)


def test_csv_is_read_back_and_nothing_is_empty():
    lines = [["a", "b", "c"], ["x,y", 0.5, None], ['"', math.nan, 3]]
    assert list(csv.reader(io.StringIO(as_csv(lines)))) == [["a", "b", "c"], ["x,y", "0.5", ""], ['"', "", "3"]]
