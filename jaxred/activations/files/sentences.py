"""Files of activations, sentence by sentence: of any format, in one file or, as NeuroX can write, in one per layer.

NeuroX names the files of layers after the file that it was asked to write: `train-layer0.hdf5`, `train-layer1.hdf5` ...
for `train.hdf5`. Where there is no `train.hdf5` but there are those, they are read together.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float

from jaxred.activations.files import hdf5, json_lines
from jaxred.activations.files.survey import Survey
from jaxred.errors import UserError

FORMATS = {".json": json_lines, ".jsonl": json_lines, ".hdf5": hdf5, ".h5": hdf5}
UNPICKLED = (".t7", ".pt", ".pth", ".acts", ".pkl", ".pickle")  # reading these can run what is in them


@dataclass(frozen=True)
class SentenceFile:
    """A file of activations, or the files of its layers, found to fit together."""

    path: Path
    survey: Survey  # of all layers
    parts: tuple[tuple[Path, Survey], ...]  # the file itself, or the file of each layer

    @property
    def format(self) -> str:
        return sentence_format(self.path).__name__.split(".")[-1]

    def read(self, first: int = 0, sentences_only: bool = False) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
        """The vectors of each sentence, from sentence `first` on.

        Args:
            first: the sentence to start at.
            sentences_only: give one token per sentence, the one that stands for it.

        Raises:
            UserError: as the format's own `read` does.
        """
        reader = sentence_format(self.path)
        readers = [reader.read(path, survey, first, sentences_only) for path, survey in self.parts]
        if len(readers) == 1:
            return readers[0]
        return (np.concatenate(layers, axis=1) for layers in zip(*readers, strict=True))


def sentence_format(path: Path) -> ModuleType:
    """The module that reads a file, by the file's suffix.

    Raises:
        UserError: it is of a format whose reading runs what is in it, or of an unknown format.
    """
    refuse_pickles(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path} has an unknown format: name a file of activations that ends in {', '.join(FORMATS)}.")
    return FORMATS[suffix]


def refuse_pickles(path: Path) -> None:
    """Rejects the formats whose reading runs what is in them, which the original and NeuroX read.

    Raises:
        UserError: saying what to do instead.
    """
    suffix = path.suffix.lower()
    if suffix in UNPICKLED:
        raise UserError(
            f"{path} is a {suffix} file, and reading one runs whatever is in it, so it is not read here: write the "
            "activations as JSON lines (.json) or HDF5 (.hdf5) with the tool that made them, and name that file."
        )


def open_sentences(path: Path, texts: Sequence[str] | None = None) -> SentenceFile:
    """Finds what a file of activations holds, or the files of its layers.

    Args:
        path: the file.
        texts: the sentences whose activations are needed, in order. HDF5 finds them by their text; JSON lines are taken
            as they stand.

    Raises:
        UserError: the file is missing, damaged, of an unknown format, or keyed by text where no texts are given; files
            of layers do not fit together.
    """
    reader = sentence_format(path)
    if reader is hdf5 and texts is None:
        raise UserError(
            f"{path} names its sentences by their text, so that their order is known only from the text: pass the file "
            "of the sentences, one per line, as `text`."
        )
    paths = layer_files(path) or [path]
    surveys = [hdf5.survey(p, texts) if texts is not None and reader is hdf5 else reader.survey(p) for p in paths]
    first = surveys[0]
    for p, survey in zip(paths, surveys, strict=True):
        if (survey.hidden_size, survey.tokens) != (first.hidden_size, first.tokens):
            raise UserError(
                f"{p} and {paths[0]} do not fit together: {_difference(survey, first)}; extract the layers again, from "
                "the same text."
            )
    whole = first
    if len(paths) > 1:
        digest = hashlib.sha256("".join(survey.digest for survey in surveys).encode()).hexdigest()
        n_layers = sum(survey.n_layers for survey in surveys)
        whole = Survey(n_layers, first.hidden_size, first.tokens, digest, first.keys, first.n_duplicates)
    return SentenceFile(path, whole, tuple(zip(paths, surveys, strict=True)))


def layer_file(path: Path, layer: int) -> Path:
    """NeuroX's name for the file of one layer."""
    return path.with_name(f"{path.stem}-layer{layer}{path.suffix}")


def present_layers(path: Path) -> list[int]:
    """The layers whose files are next to a file's path."""
    if not path.parent.is_dir():
        return []
    name = re.compile(rf"{re.escape(path.stem)}-layer(\d+){re.escape(path.suffix)}")
    return sorted(int(match[1]) for file in path.parent.iterdir() if (match := name.fullmatch(file.name)))


def layer_files(path: Path) -> list[Path]:
    """The files of a file's layers, in order; empty where the file itself is there, or there are none.

    Raises:
        UserError: layers are missing among them.
    """
    layers = [] if path.exists() else present_layers(path)
    if layers != list(range(len(layers))):
        numbers = ", ".join(map(str, layers))
        raise UserError(
            f"{path} stands for the files of its layers, but next to it are those of layers {numbers}, and 0 to "
            f"{len(layers) - 1} are expected: add what is missing, or, if these are all you need, rename them."
        )
    return [layer_file(path, layer) for layer in layers]


def _difference(survey: Survey, first: Survey) -> str:
    if survey.hidden_size != first.hidden_size:
        return f"one has {survey.hidden_size} neurons per layer and the other {first.hidden_size}"
    if len(survey.tokens) != len(first.tokens):
        return f"one has {len(survey.tokens)} sentences and the other {len(first.tokens)}"
    row = next(i for i, (own, other) in enumerate(zip(survey.tokens, first.tokens, strict=True)) if own != other)
    return f"sentence {row + 1} has {survey.tokens[row]} tokens in one and {first.tokens[row]} in the other"
