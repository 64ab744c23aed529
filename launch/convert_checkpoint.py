"""Converts a checkpoint whose weights are a `pytorch_model.bin` to safetensors, which jaxred reads. Needs PyTorch.

    python launch/convert_checkpoint.py --input=old-xlnet [--output=xlnet]

Takes Hugging Face folders of the architectures that jaxred runs (docs/encoders.md). Without --output the
safetensors file is written next to the old one. The weights are opened by PyTorch's weights-only loader: a file that
holds anything but tensors is rejected.
"""

from absl import flags

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.io.paths import local
from jaxred.models import conversion

INPUT = flags.DEFINE_string("input", "", "The folder with config.json and pytorch_model.bin or its shards.")
OUTPUT = flags.DEFINE_string("output", "", "The folder for model.safetensors; by default the same.")


def main(config: StudyConfig | None, overwrite: bool) -> None:
    if config is not None or overwrite:
        raise UserError("--config and --overwrite have no use here: leave them out.")
    if not INPUT.value:
        raise UserError("--input is missing: pass the folder with config.json and pytorch_model.bin.")
    source = local(INPUT.value, "--input")
    written = conversion.convert(source, local(OUTPUT.value, "--output") if OUTPUT.value else source)
    print(f"Converted: {written}")


if __name__ == "__main__":
    app.run_without_workdir(main)
