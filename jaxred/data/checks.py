"""Checks of what was read, before anything is encoded: text without words, and labels that train does not have."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from jaxred.data.examples import Dataset, Example, LabelledSentence, WordDataset
from jaxred.errors import UserError

log = logging.getLogger("jaxred")

MOST_SHOWN = 50  # classes that an error lists

_PLACEHOLDERS = frozenset("_-*?.")  # what stands for a word that is left out
_BARE = "".join([*_PLACEHOLDERS, *filter(str.isspace, map(chr, range(0x3001)))])  # these and all white space


def refuse_wordless(dataset: Dataset | WordDataset) -> None:
    """Rejects a split whose text is nothing but placeholders or one word; warns of sentences that are.

    Raises:
        UserError: naming the split and what stands for its words.
    """
    for split, rows in dataset.splits.items():
        bare = [words for words in map(_words, filter(_may_be_bare, rows)) if _PLACEHOLDERS.issuperset(words)]
        empty = [words for words in bare if len(words) > 1]
        if len(bare) == len(rows) or (len(rows) > 1 and _is_one_word(rows)):
            sentences = list(map(_words, rows))
            shown = ", ".join(repr(word) for word in sorted({word for words in sentences for word in words}))
            raise UserError(
                f"The {split} split of task {dataset.name} has no words: all {sum(map(len, sentences))} of them are "
                f"{shown}, as in a treebank that is distributed without its text (forms of underscores): merge the "
                "text in, with the script that comes with the treebank."
            )
        if empty:
            log.warning(
                "%s: %d of %d sentences have no words, but only %s for each: merge the text in, or leave them out",
                split,
                len(empty),
                len(rows),
                " or ".join(repr(word) for word in sorted({word for words in empty for word in words})),
            )


def warn_of_single(dataset: Dataset | WordDataset) -> None:
    """Warns of classes that train has one example of, of which nothing can be learnt."""
    if dataset.kind != "classification":
        return
    rows = dataset.splits.get("train", ())
    counts = Counter(
        label for row in rows for label in (row.labels if isinstance(row, LabelledSentence) else [row.label])
    )
    single = sorted(str(label) for label, count in counts.items() if count == 1)
    if single:
        shown = ", ".join(single[:MOST_SHOWN]) + (", ..." if len(single) > MOST_SHOWN else "")
        log.warning(
            "train: %d of %d classes have one example, of which nothing can be learnt: %s (check their spelling)",
            len(single),
            len(counts),
            shown,
        )


def _may_be_bare(row: Example | LabelledSentence) -> bool:
    """Whether there is nothing but placeholders in a row's text; a quick look, since most rows have words."""
    if isinstance(row, LabelledSentence):
        return _PLACEHOLDERS.issuperset(row.words)
    return not row.text.strip(_BARE) and not (row.pair or "").strip(_BARE)


def _is_one_word(rows: Sequence[Example | LabelledSentence]) -> bool:
    """Whether one word is all that there is; as soon as a second is seen, it is not."""
    words = (word for row in rows for word in _words(row))
    first = next(words, None)
    return first is not None and all(word == first for word in words)


def _words(row: Example | LabelledSentence) -> Sequence[str]:
    if isinstance(row, LabelledSentence):
        return row.words
    return [*row.text.split(), *(row.pair or "").split()]


def unseen_labels(split: str, labels: Sequence[Any], train_classes: Collection[Any], fallback: str) -> list[Any]:
    """The labels of a split that were never seen in train; they count as the fallback class.

    Raises:
        UserError: if there are some, and the fallback is no class of train.
    """
    unseen = [label for label in labels if label not in train_classes]
    if unseen and fallback not in train_classes:
        classes = sorted(train_classes)
        shown = ", ".join(classes[:MOST_SHOWN]) + (", ..." if len(classes) > MOST_SHOWN else "")
        named = f"config.task.fallback_label={fallback!r} is no class of train: " if fallback else ""
        raise UserError(
            f"{named}The {split} split has {len(unseen)} label(s) never seen in train, such as {unseen[0]!r}. Known "
            f"are {shown}: pass config.task.fallback_label with one of them to count such rows as that class, or "
            "fix the labels."
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
