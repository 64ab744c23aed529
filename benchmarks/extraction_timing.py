"""Claim: extraction is as fast as PyTorch on the same batches, and much faster than padding every sentence to 128
tokens.

    python benchmarks/extraction_timing.py [--n_sentences=2000]

Sentences of the built-in corpus go through all-MiniLM-L6-v2 and every layer's [CLS] vector is kept, three times in
one run: by jaxred, by PyTorch's BertModel on jaxred's length-sorted batches, and by PyTorch as the original does it
(padded to 128, batches of 32). Tokenising and compiling are not counted; each way has one warm-up. Prints
sentences/s, the ratios, and how far the vectors agree.
"""

import json
import time

import _machine
import jax
import numpy as np
from absl import app, flags

from jaxred.activations.batching import Batch, plan_batches
from jaxred.activations.encode import encode_fn
from jaxred.data.movie_reviews import load_movie_reviews
from jaxred.models import load_encoder, pretrained
from jaxred.models.tokenization import Tokenizer

N_SENTENCES = flags.DEFINE_integer("n_sentences", 2000, "Sentences to extract.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
ROUNDS = 3


def main(argv: list[str]) -> None:
    del argv
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import BertModel

    n_sentences = 200 if SMALLEST.value else N_SENTENCES.value
    folder = pretrained.resolve("all-MiniLM-L6-v2")
    model = load_encoder(folder)
    tokenizer = Tokenizer(folder, model.config)
    texts = [example.text for example in load_movie_reviews("classification").splits["train"][:n_sentences]]
    tokens = tokenizer.encode(texts, None, 128)
    sorted_batches = plan_batches(tokens.lengths, 2048 if jax.default_backend() == "cpu" else 65536)
    rows = np.arange(len(texts))
    padded_batches = [Batch(rows[i : i + 32], 128, 32) for i in range(0, len(rows), 32)]
    encode = encode_fn(model, "cls", "float32")
    rival = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()  # type: ignore[no-untyped-call]

    def by_jaxred(batches: list[Batch]) -> np.ndarray:
        vectors = np.zeros((len(texts), model.config.n_layers + 1, model.config.hidden_size), np.float32)
        for batch in batches:
            padded = tokenizer.pad(tokens, batch.rows.tolist(), batch.length, batch.n_rows)
            vectors[batch.rows] = np.asarray(encode(padded))[: len(batch.rows)]
        return vectors

    def by_pytorch(batches: list[Batch]) -> np.ndarray:
        vectors = np.zeros((len(texts), model.config.n_layers + 1, model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for batch in batches:
                padded = tokenizer.pad(tokens, batch.rows.tolist(), batch.length, len(batch.rows))
                outputs = rival(
                    input_ids=torch.from_numpy(padded.input_ids).long(),
                    attention_mask=torch.from_numpy(padded.attention_mask).long(),
                    token_type_ids=torch.from_numpy(padded.token_type_ids).long(),
                    output_hidden_states=True,
                )
                vectors[batch.rows] = torch.stack([h[:, 0] for h in outputs.hidden_states], 1).numpy()
        return vectors

    ways = {
        "jaxred": lambda: by_jaxred(sorted_batches),
        "pytorch_same_batches": lambda: by_pytorch(sorted_batches),
        "pytorch_padded_to_128": lambda: by_pytorch(padded_batches),
    }
    rounds = 1 if SMALLEST.value else ROUNDS
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {}
    for name, way in ways.items():
        vectors[name] = way()  # warm-up, and compilation
    for _ in range(rounds):  # in turn, so that a change of the machine's speed meets all of them
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begin)
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    difference = np.linalg.norm(vectors["jaxred"] - vectors["pytorch_same_batches"], axis=(0, 2))
    report = {
        "machine": _machine.describe() | {"torch": torch.__version__},
        "n_sentences": len(texts),
        "mean_tokens": float(tokens.lengths.mean()),
        "sentences_per_second": {name: len(texts) / s for name, s in median.items()},
        "times_pytorch_same_batches": median["pytorch_same_batches"] / median["jaxred"],
        "times_pytorch_padded_to_128": median["pytorch_padded_to_128"] / median["jaxred"],
        "relative_error_by_layer": (difference / np.linalg.norm(vectors["pytorch_same_batches"], axis=(0, 2))).tolist(),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
