"""The table of tuning constants names what is in the code, where it is."""

import re

import pytest
from helpers.processes import ROOT

ROWS = [line for line in (ROOT / "docs" / "tuning.md").read_text().splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("row", ROWS)
def test_a_constant_is_where_the_table_says(row):
    cells = row.split(" | ")
    (file,) = re.findall(r"\(`([^`]+\.py)`\)", cells[0])
    text = (ROOT / file).read_text()
    for name in re.findall(r"`(\w+)`", cells[0].split(" (")[0]):
        assert re.search(rf"^(def |    )?([\w, ]+, )?{name}\b[\w, ]*[(:=]", text, re.MULTILINE), name


@pytest.mark.parametrize("row", ROWS)
def test_its_measure_is_a_benchmark_or_it_is_said_to_be_chosen(row):
    measure = row.split(" | ")[-1]
    scripts = re.findall(r"python ((?:benchmarks|launch)/\w+\.py)", measure)
    assert scripts or measure.startswith("chosen")
    for script in scripts:
        text = (ROOT / script).read_text()
        for flag in re.findall(r"--(n_classes|stages|neurons)=", measure):
            assert f'"{flag}"' in text
