"""The text of each row of a store: its word, its sentence, or both sentences of a pair."""

from collections.abc import Sequence

from jaxred.activations.extract import source_digest
from jaxred.activations.store import Store
from jaxred.config import StudyConfig
from jaxred.data.examples import Dataset, WordDataset
from jaxred.errors import UserError
from jaxred.runs.sources import IN_MEMORY, Source, TextSource, source_of

PAIR = " | "  # between the sentences of a pair
FROM_PYTHON = ("texts", IN_MEMORY)  # names of tasks of what Python gave, which cannot be read again


def texts_of_run(store: Store, split: str, config: StudyConfig, source: Source | None = None) -> list[str] | None:
    """The text of each row of a run's store; None where the activations are not of a task's text.

    Args:
        store: of the split.
        split: its name.
        config: of the run.
        source: of its activations; by default what the configuration names.

    Raises:
        UserError: the task's files cannot be read, or have changed since.
    """
    if source is None:
        if config.task.name in FROM_PYTHON:
            return None
        source = source_of(config)
    if "source" not in store.ledger.identity or not isinstance(source, TextSource):
        return None
    return texts_of_rows(store, source.load(config), split)


def texts_of_rows(store: Store, dataset: Dataset | WordDataset, split: str) -> list[str]:
    """The text of each row of a store that was extracted from a dataset.

    Raises:
        UserError: the store is of other text.
    """
    examples = dataset.splits.get(split)
    if examples is None or source_digest(examples) != store.ledger.identity["source"]:
        raise UserError(
            f"The activations {store.location} are not of the {split} text that is there now, as it has changed: put "
            "the same files there, or run the study again."
        )
    if isinstance(dataset, WordDataset):
        return words_of_rows(store, [sentence.words for sentence in dataset.splits[split]])
    rows = [example.text if example.pair is None else pair_text(example) for example in dataset.splits[split]]
    return [rows[sentence] for sentence in store.sentence_index().tolist()]


def words_of_rows(store: Store, sentences: Sequence[Sequence[str]]) -> list[str]:
    """The word of each row of a store of words; words that have no row are left out, as the store says.

    Raises:
        UserError: there is no such sentence or word.
    """
    places = zip(store.sentence_index().tolist(), store.word_index().tolist(), strict=True)
    try:
        return [str(sentences[sentence][word]) for sentence, word in places]
    except IndexError:
        raise UserError(
            f"texts has {len(sentences):,} sentences, but the store {store.location} has words that are not in them: "
            "pass all sentences that it was made of."
        ) from None


def pair_text(pair: Sequence[str | float | None]) -> str:
    """Both sentences of a pair, as one."""
    return f"{pair[0]}{PAIR}{pair[1]}"
