"""docs/probes.md: its examples are run as they stand there, and its figure is that of the code."""

import doctest
import sys

import pytest
from helpers.shared import ROOT

from jaxred.probing import estimators, layout

PAGE = (ROOT / "docs" / "probes.md").read_text()


@pytest.mark.parametrize("text", [PAGE, estimators.ElasticNetProbe.__doc__, estimators.ProbeFamily.__doc__])
def test_the_examples_say_what_comes_out(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    names = vars(estimators).copy()
    examples = doctest.DocTestParser().get_doctest(text.replace("```", ""), names, "examples", None, 0)
    assert examples.examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(examples, out=sys.stdout.write)
    assert runner.failures == 0


def test_the_figure_is_that_of_the_module():
    figure = [line.removeprefix("    ") for line in layout.__doc__.splitlines() if line.startswith("    ")]
    assert len(figure) > 15
    lines = PAGE.splitlines()
    assert all(line in lines for line in figure)
