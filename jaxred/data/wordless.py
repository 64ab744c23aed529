"""Text that holds no words, as treebanks are handed out whose words may not be distributed."""

import logging
from collections.abc import Sequence

from jaxred.data.examples import Dataset, Example, LabelledSentence, WordDataset
from jaxred.errors import UserError

log = logging.getLogger("jaxred")

_PLACEHOLDERS = frozenset("_-*?.")  # what stands for a word that is left out


def refuse_wordless(dataset: Dataset | WordDataset) -> None:
    """Rejects a split whose text is nothing but placeholders or one word; warns of sentences that are.

    Raises:
        UserError: naming the split and what stands for its words.
    """
    for split, rows in dataset.splits.items():
        sentences = [_words(row) for row in rows]
        found = {word for words in sentences for word in words}
        empty = [words for words in sentences if len(words) > 1 and _PLACEHOLDERS.issuperset(words)]
        if _PLACEHOLDERS.issuperset(found) or (len(found) == 1 and len(sentences) > 1):
            shown = ", ".join(repr(word) for word in sorted(found))
            raise UserError(
                f"The {split} split of task {dataset.name} has no words: all {sum(map(len, sentences))} of them are "
                f"{shown}, as in a treebank that is handed out without its text (forms of underscores): merge the text "
                "in, with the script that comes with the treebank."
            )
        if empty:
            log.warning(
                "%s: %d of %d sentences have no words, but only %s for each: merge the text in, or leave them out",
                split,
                len(empty),
                len(sentences),
                " or ".join(repr(word) for word in sorted({word for words in empty for word in words})),
            )


def _words(row: Example | LabelledSentence) -> Sequence[str]:
    if isinstance(row, LabelledSentence):
        return row.words
    return [*row.text.split(), *(row.pair or "").split()]
