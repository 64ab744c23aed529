"""The text of `jaxred COMMAND --help`: what the command does, its flags, and the fields of the configuration."""

import ast
import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from jaxred import config as configuration
from jaxred.cli import packaged
from jaxred.config import StudyConfig

_WIDEST = 120


def text(usage: str, description: str, own: Iterable[flags.Flag], sections: Sequence[str] | None = None) -> str:
    """The help of a command.

    Args:
        usage: how the command is called, such as `jaxred study`.
        description: what it does.
        own: its flags.
        sections: the sections of the configuration that it reads, such as task; None: all fields.

    Returns:
        Lines of at most 120 letters, where no single word is longer.
    """
    parts = [f"usage: {usage} [--FLAG=VALUE ...]", description.strip(), "\n".join(["Flags:", *map(_flag, own)])]
    if sections is None or sections:
        names = (
            f"Packaged configurations: {', '.join(packaged.configs())}. A colon hands an argument to one: glue:sst2."
        )
        parts += [
            textwrap.fill(names, _WIDEST),
            "Fields of the configuration, with their defaults; a configuration may set others.",
            *_fields(StudyConfig(), "config", sections),
        ]
    return "\n\n".join(parts)


def field_docs(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass of the configuration, by the field's name."""
    docs = {}
    tree = next(
        node
        for node in ast.parse(inspect.getsource(configuration)).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    for statement, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            docs[statement.target.id] = " ".join(str(text).split())
    return docs


def _fields(section: Any, prefix: str, only: Sequence[str] | None = None) -> list[str]:
    """One paragraph for each section with its fields, and one for the fields that are in no section."""
    paragraphs, lines, docs = [], [], field_docs(type(section))
    for name in (field.name for field in dataclasses.fields(section) if only is None or field.name in only):
        value = getattr(section, name)
        if dataclasses.is_dataclass(value):
            description = inspect.cleandoc(type(value).__doc__ or "")
            paragraphs.append("\n".join([f"{name}: {description}", *_fields(value, f"{prefix}.{name}")]))
        else:
            shown = value if isinstance(value, str) else repr(value)
            lines.append(f"  --{prefix}.{name}={shown}\n{_indented(docs[name])}")
    return [*paragraphs, *(["\n".join(lines)] if lines else [])]


def _flag(flag: flags.Flag) -> str:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    return f"  {name}\n{_indented(flag.help or '')}"


def _indented(paragraph: str) -> str:
    width = min(_WIDEST, max(40, shutil.get_terminal_size((_WIDEST, 24)).columns))
    return textwrap.fill(paragraph, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
