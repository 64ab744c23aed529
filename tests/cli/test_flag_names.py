"""Arguments in the library's sentences become flags at the command's edge, and nothing else changes."""

import pytest

from jaxred.cli.flag_names import as_flags


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("a is there: pass overwrite=True to replace it.", "a is there: pass --overwrite to replace it."),
        ("or pass `overwrite=True`.", "or pass --overwrite."),
        ("see it with verify=True first.", "see it with --verify first."),
        ("`cluster_map` is of one task.", "--cluster_map is of one task."),
        ("run it with workdir='my runs/a' first.", "run it with --workdir='my runs/a' first."),
        ("run it with workdir='runs/a' first.", "run it with --workdir=runs/a first."),
        ('run it with workdir="it\'s" first.', "run it with --workdir='it'\"'\"'s' first."),
        ("choose another `workdir`.", "choose another --workdir."),
        ("Pass `workdir=FOLDER`: the folder.", "Pass --workdir=FOLDER: the folder."),
        ("the sentences, one per line, as `text`.", "the sentences, one per line, as --text."),
        (": take config.probe.solver='fista'", ": take --config.probe.solver=fista"),
        (': take config.probe.solver="fista", or', ": take --config.probe.solver=fista, or"),
        ("more `config.probe.epochs`", "more --config.probe.epochs"),
        ("pass it as config.task.data_dir.", "pass it as --config.task.data_dir."),
        ("see the spread by config.repeats=10.", "see the spread by --config.repeats=10."),
        ("(config.extraction.dtype, or `dtype`)", "(--config.extraction.dtype, or --dtype)"),
        ("one file: `config.selection.deltas=((1, 1),)`", "one file: --config.selection.deltas='((1, 1),)'"),
        ("give `config` of one task", "give --config of one task"),
    ],
)
def test_an_argument_is_a_flag(message, printed):
    assert as_flags(message) == printed


@pytest.mark.parametrize(
    "message",
    [
        "config.probe.l1=-1 is not possible: it must be at least 0.",
        "1 of 2 runs failed; the others are done.\n  rte: config.task.data_dir='nowhere' is not a folder.",
        "It is wrong. config.task.name='sst9' is not known.",
        "runs/a holds a single run (it has a config.json): choose.",
        "see jaxred/config.py for its fields, or config.yaml.",
        "run `git lfs pull` in the folder.",
        "pass --overwrite to replace it, or --config.probe.solver=fista.",
        "this workdir's pipeline wrote the text=None of no flag.",
        "my.overwrite=True and no_overwrite=True and task.kind='regression' are none.",
        "probe.l1 was 0.1 and is now 1e-05",
    ],
)
def test_what_is_no_argument_stays(message):
    assert as_flags(message) == message
