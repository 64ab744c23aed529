"""Labels of dev and test that train does not have."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

log = logging.getLogger("jaxred")


def warn_of_unseen(split: str, labels: Sequence[Any], train_classes: Collection[Any], fallback: str) -> None:
    """Says how many labels of a split were never seen in train, and which; they count as the fallback class."""
    unseen = [label for label in labels if label not in train_classes]
    if unseen:
        names = ", ".join(sorted(set(unseen)))
        log.warning("%s: %d labels unseen in train (%s) count as %r", split, len(unseen), names, fallback)
