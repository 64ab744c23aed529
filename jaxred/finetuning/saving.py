"""A fine-tuned encoder with its head as a Hugging Face folder that transformers loads."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from jaxred.finetuning.classifier import Classifier, head_table
from jaxred.finetuning.training import Task
from jaxred.models import heads, pretrained
from jaxred.models.saving import save_folder
from jaxred.models.tokenization import Tokenizer


def save_finetuned(classifier: Classifier, source: Path, folder: Path, task: Task, words: bool) -> None:
    """Writes configuration, weights with the head, and tokenizer.

    Args:
        classifier: what was trained.
        source: the Hugging Face folder that it came from.
        folder: where the files go; it must exist.
        task: what it was trained on, for the names of the classes.
        words: whether words are classified.

    Raises:
        OSError: if the folder cannot be written.
    """
    encoder = classifier.encoder
    save_folder(encoder, source, folder)
    table, weights = head_table(encoder, words), folder / pretrained.WEIGHTS
    tensors = {f"{encoder.weights.prefix}{name}": array for name, array in load_file(weights).items()}
    save_file(tensors | heads.state_dict(classifier.head, table), weights, metadata={"format": "pt"})
    config: dict[str, Any] = pretrained.read_config(folder) | dict(table.settings)
    kind = "Token" if words else "Sequence"
    config["architectures"] = [f"{encoder.config.model_class.removesuffix('Model')}For{kind}Classification"]
    names = list(task.classes) or ["score"]
    config["id2label"] = {str(number): name for number, name in enumerate(names)}
    config["label2id"] = {name: number for number, name in enumerate(names)}
    config["num_labels"] = len(names)
    config["problem_type"] = "regression" if task.kind == "regression" else "single_label_classification"
    if encoder.config.tokens.sentence_position is None:  # transformers finds the last token by its padding
        config["pad_token_id"] = Tokenizer(source, encoder.config).pad_token_id
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / pretrained.CONFIG).write_text(text, encoding="utf-8")
