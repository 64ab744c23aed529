"""Labels of dev and test that train does not have."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

from jaxred.errors import UserError

log = logging.getLogger("jaxred")

MOST_SHOWN = 50  # classes that an error lists


def unseen_labels(split: str, labels: Sequence[Any], train_classes: Collection[Any], fallback: str) -> list[Any]:
    """The labels of a split that were never seen in train; they count as the fallback class.

    Raises:
        UserError: if there are some, and the fallback is no class of train.
    """
    unseen = [label for label in labels if label not in train_classes]
    if unseen and fallback not in train_classes:
        known = sorted(train_classes)
        shown = ", ".join(known[:MOST_SHOWN]) + (", ..." if len(known) > MOST_SHOWN else "")
        named = f"config.task.fallback_label={fallback!r} is no class of train: " if fallback else ""
        raise UserError(
            f"{named}The {split} split has {len(unseen)} label(s) never seen in train, such as {unseen[0]!r}. Known "
            f"are {shown}: pass config.task.fallback_label with one of them to count such rows as that class, or "
            "mend the labels."
        )
    return unseen


def warn_of_unseen(split: str, labels: Sequence[Any], train_classes: Collection[Any], fallback: str) -> None:
    """Says how many labels of a split were never seen in train, and which.

    Raises:
        UserError: as `unseen_labels`.
    """
    unseen = unseen_labels(split, labels, train_classes, fallback)
    if unseen:
        names = ", ".join(sorted(set(unseen)))
        log.warning("%s: %d labels unseen in train (%s) count as %r", split, len(unseen), names, fallback)
