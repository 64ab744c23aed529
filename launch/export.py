"""Exports the small model of a finished study: the layers and neurons that its task needs, with head and tokenizer.

    python launch/export.py --workdir=runs/demo --output=small
    python launch/export.py --workdir=runs/demo --output=small.onnx --format=onnx
    python launch/export.py --workdir=runs/demo --output=whole --set=oracle

By default it is the smallest minimal set that is a finding. --set takes another as tables name it ("LayerSelector 3"),
oracle for all neurons, or a probe's name. See docs/reduced.md.
"""

import shlex

from absl import flags

from jaxred.cli import app, environment
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.reduced import folder, onnx_file
from jaxred.runs.run import open_run

flags.declare_key_flag("workdir")  # which app defines
OUTPUT = flags.DEFINE_string("output", None, "The folder, or the file of --format=onnx, to write.")
SET = flags.DEFINE_string("set", None, "Which neurons: a set or a probe by name; the smallest finding by default.")
FORMAT = flags.DEFINE_enum("format", "folder", ["folder", "onnx"], "What is written.")
MEASURE = flags.DEFINE_bool("measure", True, "Measure the speed next to the whole encoder's, for the card.")


def main(config: StudyConfig | None, overwrite: bool) -> None:
    if config is not None:
        raise UserError("--config has no use here: the run in --workdir has its own; leave it out.")
    workdir = flags.FLAGS["workdir"].value
    if not workdir or not OUTPUT.value:
        raise UserError("Pass --workdir=RUN, the folder of a finished study, and --output=FOLDER, a new folder.")
    environment.keep_compilations()
    to_onnx = FORMAT.value == "onnx"
    (onnx_file if to_onnx else folder).refuse_present(OUTPUT.value, overwrite)  # before the speed is measured
    model = open_run(workdir).reduced(SET.value, measure=MEASURE.value and not to_onnx)
    written = model.save_onnx(OUTPUT.value, overwrite) if to_onnx else model.save(OUTPUT.value, overwrite)
    print(f"{model.card.markdown_table()}\n\nWritten: {written}")
    if not to_onnx:
        next_step = app.as_typed("python launch/predict.py")
        print(f"Next: {next_step} --model={shlex.quote(OUTPUT.value)} --input=texts.txt --output=labels.csv")


if __name__ == "__main__":
    app.run_without_workdir(main)
