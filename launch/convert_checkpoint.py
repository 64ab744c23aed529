"""Turns a checkpoint whose weights are a `pytorch_model.bin` into safetensors, which jaxred reads; needs PyTorch.

    python launch/convert_checkpoint.py --input=old-xlnet [--output=xlnet]

Takes Hugging Face folders of the architectures that jaxred runs: BERT, DistilBERT, XLNet. Without --output the
safetensors file is written beside the old one. The weights are opened by PyTorch's weights-only loader: a file that
holds anything but tensors is refused.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from jaxred.errors import UserError
from jaxred.models import conversion

INPUT = flags.DEFINE_string("input", "", "The folder with config.json and pytorch_model.bin or its shards.")
OUTPUT = flags.DEFINE_string("output", "", "The folder for model.safetensors; by default the same.")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise UserError(f"Unknown argument {argv[1]!r}: pass the folder as --input=DIR.")
    if not INPUT.value:
        raise UserError("--input is missing: pass the folder with config.json and pytorch_model.bin.")
    source = Path(INPUT.value)
    written = conversion.convert(source, Path(OUTPUT.value) if OUTPUT.value else source)
    print(f"Converted: {written}")


def parse(argv: Sequence[str]) -> list[str]:
    """Flags to values; an unknown one is told in a sentence."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}. See --help.") from error


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
