"""Claim: 100 sets of neurons on the 872 dev sentences of SST-2 take less than 3 minutes on 2 cores, the cost is linear
in the sets, and PyTorch with forward hooks, one set after the other, takes longer: how many times, the machine decides.

    python benchmarks/ablation.py --glue=glue_data [--encoder=all-MiniLM-L6-v2] [--rival_sets=8]

The sets are of random shares of the neurons: a third in all layers, two thirds in the layers from a random one up. The
head is random, which does not change the time. PyTorch has the same weights, sentences sorted by length in batches of
32, padded to the longest, and is timed on the first of the sets and on as many of each kind; its time for all is scaled
from these. Outputs of both are compared. Compiling is in `compile_seconds`, and the first round of PyTorch a warm-up.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags

from jaxred.ablation.batches import batches_of
from jaxred.ablation.forward import Ablation
from jaxred.ablation.interventions import Interventions, remove_neurons
from jaxred.data.glue import load_glue
from jaxred.data.movie_reviews import load_movie_reviews
from jaxred.finetuning.batches import Rows
from jaxred.finetuning.classifier import Classifier, load_classifier
from jaxred.finetuning.saving import save_finetuned
from jaxred.finetuning.training import Task
from jaxred.models import pretrained
from jaxred.models.tokenization import Tokenizer

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for SST-2; empty: the built-in reviews.")
ENCODER = flags.DEFINE_string("encoder", "all-MiniLM-L6-v2", "A folder or a name of a BERT.")
RIVAL_SETS = flags.DEFINE_integer("rival_sets", 9, "Sets that PyTorch is timed on.", lower_bound=3)
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
CLASSES = ("0", "1")


def random_sets(shape: tuple[int, int], n_sets: int) -> Interventions:
    random = np.random.default_rng(0)
    n_neurons = shape[0] * shape[1]
    sets = []
    for number in range(n_sets):
        lowest = 0 if number % 3 == 0 else int(random.integers(0, shape[0]))
        columns = np.arange(lowest * shape[1], n_neurons)
        sets.append(columns[random.random(len(columns)) < random.uniform(0.01, 0.99)])
    return remove_neurons(sets, *shape)


class Rival:
    """PyTorch's model of the same weights, with a hook on each layer."""

    def __init__(self, model: Classifier, source: Path, tokenizer: Tokenizer, rows: Rows):
        import torch  # pyright: ignore[reportMissingImports]
        import transformers

        self.torch, self.tokenizer, self.rows = torch, tokenizer, rows
        with tempfile.TemporaryDirectory() as place:
            save_finetuned(model, source, Path(place), Task("classification", "accuracy", CLASSES), words=False)
            self.model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
                place, dtype=torch.float32
            ).eval()
        self.places = [self.model.bert.embeddings, *self.model.bert.encoder.layer]

    def outputs(self, removed: np.ndarray) -> np.ndarray:
        torch, rows = self.torch, self.rows
        handles = []
        for place, gone in zip(self.places, removed, strict=True):
            if gone.any():
                keep = torch.from_numpy(~gone).float()

                def hook(module: Any, inputs: Any, output: Any, keep: Any = keep) -> Any:
                    del module, inputs
                    return (output[0] * keep, *output[1:]) if isinstance(output, tuple) else output * keep

                handles.append(place.register_forward_hook(hook))
        order = np.argsort(rows.tokens.lengths, kind="stable")
        found = np.zeros((len(rows), len(CLASSES)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                some = order[start : start + 32]
                batch = self.tokenizer.pad(rows.tokens, some, int(rows.tokens.lengths[some].max()), len(some))
                names = "input_ids", "attention_mask", "token_type_ids"
                arrays = {name: torch.from_numpy(np.asarray(getattr(batch, name)).astype(np.int64)) for name in names}
                found[some] = self.model(**arrays).logits.numpy()
        for handle in handles:
            handle.remove()
        return found


def main(argv: list[str]) -> None:
    del argv
    folder = pretrained.resolve(ENCODER.value)
    dataset = load_glue("sst2", Path(GLUE.value)) if GLUE.value else load_movie_reviews("classification")
    examples = dataset.splits["test" if "dev" not in dataset.splits else "dev"]
    examples = examples[:32] if SMALLEST.value else examples
    model, _ = load_classifier(folder, len(CLASSES), False)
    tokenizer = Tokenizer(folder, model.encoder.config)
    tokens = tokenizer.encode([example.text for example in examples], None, 128)
    rows = Rows(tokens, np.zeros(len(examples), np.int32))
    counts = (2, 4, 6) if SMALLEST.value else (25, 50, 100)
    shape = model.encoder.config.n_layers + 1, model.encoder.config.hidden_size
    sets, ablation, batches = random_sets(shape, counts[-1]), Ablation(model), batches_of(rows, tokenizer)
    begin = time.perf_counter()
    ablation.outputs(batches, sets.of([0]))
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    ablation.outputs(batches, sets.of([0]))
    compile_seconds = first - (time.perf_counter() - begin)
    seconds, outputs = {}, None
    for count in counts:
        begin = time.perf_counter()
        outputs = ablation.outputs(batches, sets.of(np.arange(count)))
        seconds[count] = time.perf_counter() - begin
    rival = Rival(model, folder, tokenizer, rows)
    timed = np.arange(min(RIVAL_SETS.value, counts[-1]) // 3 * 3)  # as many of each kind
    rival.outputs(sets.removed[0])
    begin = time.perf_counter()
    theirs = np.stack([rival.outputs(sets.removed[number]) for number in timed])
    of_each = (time.perf_counter() - begin) / len(timed)
    assert outputs is not None
    result = {
        "machine": _machine.describe(),
        "sentences": len(examples),
        "seconds": {str(count): round(each, 2) for count, each in seconds.items()},
        "compile_seconds": round(compile_seconds, 1),
        "seconds_per_set": {str(count): round(each / count, 3) for count, each in seconds.items()},
        "pytorch_sets_timed": len(timed),
        "pytorch_seconds_per_set": round(of_each, 3),
        "pytorch_seconds_scaled": round(of_each * counts[-1], 1),
        "times_pytorch": round(of_each * counts[-1] / seconds[counts[-1]], 2),
        "largest_difference": float(np.abs(theirs - outputs[timed]).max()),
    }
    json.dump(result, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    app.run(main)
