"""Converts files of activations to activation stores and back, and a task's examples to parallel files.

    python launch/convert.py --input=train.hdf5 --text=train.word --labels=train.label --rows=word --output=tagged/train
    python launch/convert.py --input=tagged/train --text=train.word --output=shared/train.json
    python launch/convert.py --config=configs/glue.py:sst2 --config.task.data_dir=glue_data --output=sst2

The first makes a store; a study reads such stores by `--config=configs/stores.py --config.source.stores=tagged`. The
second writes a file in the format that --output ends in (.json, .hdf5, .npy, .npz). The third writes train.word,
train.label and so on. See docs/stores.md.
"""

from absl import flags

from jaxred.activations.files import conversion
from jaxred.cli import app
from jaxred.config import StudyConfig

INPUT = flags.DEFINE_string("input", None, "A file of activations, or a store.")
OUTPUT = flags.DEFINE_string("output", None, "The store, the file or the folder to write.")
TEXT = flags.DEFINE_string("text", None, "The sentences of the activations, one per line (.word).")
LABELS = flags.DEFINE_string("labels", None, "Their labels: one per line, or with --rows=word one per word.")
ROWS = flags.DEFINE_string("rows", None, "What one row of the store is: sentence (the default) or word.")
KIND = flags.DEFINE_string("kind", None, "How labels are read: classification (the default) or regression.")
DTYPE = flags.DEFINE_string("dtype", None, "The type of the written numbers: float32 (the default), float16, bfloat16.")
DECIMALS = flags.DEFINE_integer("decimals", None, "Decimals in .json: 6 as the original (the default), 8 as NeuroX.")
SEPARATE_LAYERS = flags.DEFINE_bool("separate_layers", None, "Write one file per layer, as NeuroX can.")


def main(config: StudyConfig | None, overwrite: bool) -> None:
    options = conversion.Options(
        input=INPUT.value,
        output=OUTPUT.value,
        text=TEXT.value,
        labels=LABELS.value,
        rows=ROWS.value,
        kind=KIND.value,
        dtype=DTYPE.value,
        decimals=DECIMALS.value,
        separate_layers=SEPARATE_LAYERS.value,
    )
    print(conversion.convert(options, config, overwrite))


if __name__ == "__main__":
    app.run_without_workdir(main, sections=("task",))
