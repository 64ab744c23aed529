"""Predicts labels of texts with a small model that `export` has written.

    python launch/predict.py --model=small --input=reviews.csv --output=labels.csv
    python launch/predict.py --model=small --input=reviews.txt --output=labels.jsonl --proba
    cat reviews.txt | python launch/predict.py --model=small

Texts are those of a column of .csv, .tsv, .jsonl or .parquet, or one per line of .txt or of the standard input. They
come out in their order. Where the input has a column of labels, the score is printed too. See docs/reduced.md.
"""

import sys

from absl import flags

from jaxred.cli import app, environment
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.reduced.model import load_reduced
from jaxred.reduced.prediction_files import predict_file
from jaxred.reduced.text_files import STANDARD, open_texts

MODEL = flags.DEFINE_string("model", None, "The folder of the small model.")
INPUT = flags.DEFINE_string("input", STANDARD, "The file of texts; - is the standard input, one text per line.")
OUTPUT = flags.DEFINE_string("output", STANDARD, "The file to write, .csv, .tsv or .jsonl; - is the standard output.")
TEXT = flags.DEFINE_string("text_column", "", "The column of the texts; by its usual name by default.")
PAIR = flags.DEFINE_string("text_pair_column", "", "The column of the second text of pairs.")
PROBA = flags.DEFINE_bool("proba", False, "Add a column for the probability of each class.")


def main(config: StudyConfig | None, overwrite: bool) -> None:
    if config is not None:
        raise UserError("--config has no use here: the model knows its own; leave it out.")
    if not MODEL.value:
        raise UserError("--model is missing: pass the folder of a small model, as --model=small.")
    environment.keep_compilations()
    texts = open_texts(INPUT.value, TEXT.value, PAIR.value)
    model = load_reduced(MODEL.value)
    score = predict_file(model, texts, OUTPUT.value, PROBA.value, overwrite)
    if score is not None:
        stream = sys.stderr if OUTPUT.value == STANDARD else sys.stdout
        print(f"{model.facts.metric.replace('_', ' ')}: {score:.4f}", file=stream)
    if OUTPUT.value != STANDARD:
        print(f"Written: {OUTPUT.value}")


if __name__ == "__main__":
    app.run_without_workdir(main)
