"""Labels: classes to numbers, and names that look the same to a reader or that a file of lines cannot hold."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxred.errors import UserError

_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_ODD_SPACE = re.compile(r"[^\S \t]")  # white space that is no blank or tab
# Letters, marks and signs that show nothing, in addition to those that Unicode calls control or format characters.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def class_ids(
    labels: Sequence[str] | np.ndarray, classes: Sequence[str] | None = None
) -> tuple[Int[np.ndarray, " row"], tuple[str, ...]]:
    """Labels as the numbers that probes are trained on, and the classes by number.

    Args:
        labels: the name of each row's class.
        classes: the names by number, such as train's for the labels of test; by default those of the labels, sorted.

    Raises:
        UserError: if a label is none of the classes.
    """
    names = [str(label) for label in labels]
    classes = tuple(sorted(set(names)) if classes is None else classes)
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in names if name not in numbers]
    if unknown:
        raise UserError(
            f"{len(unknown)} label(s) are none of the {len(classes)} classes, such as {unknown[0]!r}: leave these rows "
            "out, or make the classes of all labels."
        )
    return np.array([numbers[name] for name in names], np.int32), classes


def encode_labels(
    labels: Sequence[str | float],
) -> tuple[list[str], Int[np.ndarray, " row"] | Float[np.ndarray, " row"]]:
    """Labels as a store keeps them: class names become numbers, and scores float64.

    Args:
        labels: a class name for each row, or a score; at least one.

    Returns:
        The names of the classes, sorted, and each row's class; or no names, and the scores.
    """
    if not isinstance(labels[0], str):
        return [], np.array(labels, np.float64)
    ids, classes = class_ids(labels)  # type: ignore[arg-type]
    return list(classes), ids


def refuse_odd_labels(labels: Iterable[object], where: object) -> None:
    """Rejects names of classes with line breaks, and names that differ only in what cannot be seen.

    Blanks at the ends and doubled ones, no-break and zero-width spaces, byte-order marks and control characters cannot
    be seen, nor whether an accent is part of its letter (NFC, NFD).

    Args:
        labels: the names, any number of times; scores are not looked at. Where it is a mapping, a name's value is the
            line where it is first.
        where: what holds them, for messages.

    Raises:
        UserError: naming the labels, with what cannot be seen in them written out.
    """
    lines = labels if isinstance(labels, Mapping) else {}
    seen: dict[str, str] = {}
    for label in sorted({label for label in labels if isinstance(label, str)}):
        at = f"{where}, line {lines[label]}" if label in lines else where
        if _LINE_BREAK.search(label):
            raise UserError(
                f"{at}: the label {shown(label)} holds a line break, which a file of lines cannot hold: replace it."
            )
        visible = _visible(label)
        if not visible:
            raise UserError(f"{at}: the label {shown(label)} has nothing that can be seen: name the class.")
        other = seen.setdefault(visible, label)
        if other != label:
            raise UserError(
                f"{at}: the labels {shown(other)} and {shown(label)} look the same, and differ only in invisible "
                "characters or in how accents are written: make them one, or two that look different."
            )


def split_labels(line: str, where: str) -> list[str]:
    """The labels of a line, separated by blanks and tabs.

    Raises:
        UserError: there is other white space in the line, of which nobody sees whether it separates labels.
    """
    odd = _ODD_SPACE.search(line)
    if odd:
        raise UserError(
            f"{where}: the labels hold white space that is no blank or tab, U+{ord(odd[0]):04X}: replace it by a blank "
            "if it separates labels, or remove it."
        )
    return line.split()


def shown(label: str) -> str:
    """A label with what cannot be seen in it written out."""
    return ascii(label[:80])


def _visible(label: str) -> str:
    if label.isascii() and label.isprintable():
        return " ".join(label.split())
    spaced = "".join(" " if character.isspace() else character for character in label)
    kept = "".join(c for c in _BLANK.sub("", spaced) if unicodedata.category(c) not in ("Cc", "Cf"))
    return unicodedata.normalize("NFC", " ".join(kept.split()))
