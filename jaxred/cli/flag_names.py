"""Arguments as Python spells them, in the sentences of the library, to flags as a shell takes them.

The library does not know whether it was called from Python or by a command. Its messages name arguments, and the
command translates what it prints:

| a message of the library | what the command prints |
|---|---|
| ``pass overwrite=True to replace it`` | ``pass --overwrite to replace it`` |
| ``run it with workdir='my runs'`` | ``run it with --workdir='my runs'`` |
| ``take config.probe.solver="fista"`` | ``take --config.probe.solver=fista`` |
| ``more `config.probe.epochs` `` | ``more --config.probe.epochs`` |
| ``choose another `workdir` `` | ``choose another --workdir`` |
| ``config.probe.l1=-1 is not possible`` | the same: a field that begins a sentence is the field itself, not advice |
"""

import ast
import dataclasses
import re
import shlex

from jaxred.config import StudyConfig

SWITCHES = ("overwrite", "verify", "cluster_map", "separate_layers")
PLACES = ("workdir", "input", "output", "text", "labels")
VALUES = (*PLACES, "rows", "kind", "dtype", "decimals", "vector", "set", "model", "text_column", "text_pair_column")

_STRING = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_FIELD = rf"config\.(?:{'|'.join(field.name for field in dataclasses.fields(StudyConfig))})(?:\.[a-z]\w*)*\b"
_QUOTED = re.compile(
    rf"`(?:({'|'.join(SWITCHES)})(?:=True)?|({_FIELD}|config|{'|'.join(VALUES)})(?:=({_STRING}|[^`]*))?)`"
)
_SWITCH = re.compile(rf"(?<![\w.`-])({'|'.join(SWITCHES)})=True\b")
_VALUE = re.compile(rf"(?<![\w.`-])({'|'.join(PLACES)})=({_STRING})")
_ADVICE = re.compile(rf"(?<![\w.`-])({_FIELD})(?:=({_STRING}))?")
_BEFORE_A_SUBJECT = re.compile(r"(?:^|[.:]\s+|\n\s*)$")


def as_flags(message: str) -> str:
    """A message of the library in which arguments are flags; what is none stays as it is."""
    message = _QUOTED.sub(lambda match: f"--{match[1]}" if match[1] else _flag(match[2], match[3]), message)
    message = _SWITCH.sub(r"--\1", message)
    message = _VALUE.sub(lambda match: _flag(match[1], match[2]), message)
    return _ADVICE.sub(_advice, message)


def _advice(match: re.Match[str]) -> str:
    if _BEFORE_A_SUBJECT.search(match.string, 0, match.start()):
        return match[0]
    return _flag(match[1], match[2])


def _flag(name: str, value: str | None) -> str:
    if value is None:
        return f"--{name}"
    if re.fullmatch(_STRING, value):
        value = ast.literal_eval(value)
    return f"--{name}={shlex.quote(value)}" if value else f"--{name}="
