"""Claims: encoders of base size run as fast as PyTorch's at 128 tokens, and at least three times as fast on real
lengths as when every sentence is padded to 128; XLNet takes at most 1.4 times BERT's time.


    python benchmarks/encoder_timing.py [--glue=glue_data] [--encoders=xlnet,bert|all] [--n_sentences=384] [--rounds=5]

Encoders of 12 layers x 768 with random weights, in float32, every layer's sentence vector kept, in one run: jaxred and
PyTorch on the same batch of 32 x 128 tokens, and jaxred on the lengths of SST-2's sentences, sorted into its buckets.
Padding a sentence to 128 costs what one of 128 tokens does, so the second is held against the first.
The lengths are those of the dev file's words, or of the built-in corpus where there is no --glue; ids are random, for
what they are does not change the time. Compiling is not counted; each way has one warm-up, and then its turn in every
round, so that a change of the machine's speed meets all. Prints seconds, and sentences/s and ratios twice: of the
medians over the rounds, which hold unless most rounds were disturbed, and of the minima, the least disturbed. Both
have the same weights: the largest relative error (Frobenius) of a layer's sentence vectors, on some of the real
lengths, is printed too.
`--encoders` are names as config.json has them (model_type), of one at a time where memory is short.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _machine
import jax
import numpy as np
from _lengths import real_lengths
from absl import app, flags

from jaxred.activations.encode import encode_fn
from jaxred.activations.fetching import token_budget
from jaxred.finetuning.padded_batches import plan_batches
from jaxred.models.loading import ARCHITECTURES, architecture, load_encoder
from jaxred.models.tokenization import PaddedBatch

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for SST-2's lengths.")
ENCODERS = flags.DEFINE_list("encoders", ["xlnet", "bert"], "Which encoders to time; all: every architecture.")
N_SENTENCES = flags.DEFINE_integer("n_sentences", 384, "Sentences of real lengths.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "How often every way is timed.", lower_bound=1)
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
WAYS = "jaxred_128", "pytorch_128", "jaxred_real_lengths"


def names() -> list[str]:
    return [*ARCHITECTURES] if ENCODERS.value == ["all"] else ENCODERS.value


def padded(name: str, lengths: np.ndarray, length: int, n_rows: int) -> PaddedBatch:
    """Random tokens of such lengths, laid out as the architecture has them."""
    layout = architecture(name).config_type.tokens
    full = np.append(lengths, np.zeros(n_rows - len(lengths), int))[:, None]
    place = np.arange(length) - (length - full if layout.padding_side == "left" else 0)
    mask = (place >= 0) & (place < full)
    ids = np.random.default_rng(0).integers(0, 100, mask.shape).astype(np.int32)
    types = np.where(mask, 0, layout.pad_token_type_id).astype(np.int32)
    positions = np.full(n_rows, length - 1 if layout.sentence_position == "last" else 0, np.int32)
    return PaddedBatch(ids, mask, types, positions)


def encoders(name: str) -> tuple[Callable[[PaddedBatch], Any], Callable[[PaddedBatch], Any]]:
    """The ways of jaxred and PyTorch from a batch to every layer's sentence vectors."""
    import torch  # pyright: ignore[reportMissingImports]
    import transformers

    config_type = architecture(name).config_type
    settings = {
        "vocab_size": 32000,
        "hidden_size": 768,
        "num_hidden_layers": 1 if SMALLEST.value else 12,
        "num_attention_heads": 12,
        config_type.keys.get("intermediate_size", ("intermediate_size",))[0]: 3072,
        "pad_token_id": 0,
    }
    if config_type.tokens.sentence_position is None and name != "gpt2":
        settings |= {"num_key_value_heads": 4, "head_dim": 64}
    theirs = transformers.AutoConfig.for_model(name, **settings)
    rival = transformers.AutoModel.from_config(theirs).eval()
    with tempfile.TemporaryDirectory() as folder:
        rival.save_pretrained(folder)
        model = load_encoder(Path(folder))
    causal = config_type.tokens.sentence_position is None
    encode = encode_fn(model, "last" if causal else "cls", "float32")
    segments = bool(config_type.tokens.pad_token_type_id or getattr(theirs, "type_vocab_size", 0))

    def by_pytorch(batch: PaddedBatch) -> Any:
        with torch.inference_mode():
            outputs = rival(
                input_ids=torch.from_numpy(batch.input_ids).long(),
                attention_mask=torch.from_numpy(batch.attention_mask).long(),
                output_hidden_states=True,
                **({"token_type_ids": torch.from_numpy(batch.token_type_ids).long()} if segments else {}),
            )
            rows = torch.arange(len(batch.positions))
            at = torch.from_numpy(batch.attention_mask.sum(1) - 1 if causal else batch.positions).long().clamp(min=0)
            return torch.stack([h[rows, at] for h in outputs.hidden_states], 1).numpy()

    def by_jaxred(batch: PaddedBatch) -> np.ndarray:
        """As extraction does it: in parts of the token budget, on a CPU as many at once as there are cores."""
        n_rows = max(token_budget() // batch.input_ids.shape[1], 1)
        starts = range(0, len(batch.input_ids), n_rows)
        parts = [PaddedBatch(*(array[start : start + n_rows] for array in batch)) for start in starts]
        return np.concatenate([vectors.result() for vectors in [encode.start(part) for part in parts]])

    return by_jaxred, by_pytorch


def ratios(seconds_a_sentence: dict[str, float]) -> dict[str, float]:
    """Of sentences/s to PyTorch's and to padding, and of XLNet's time to BERT's."""
    found = {}
    for name in names():
        jaxred, pytorch, real = (seconds_a_sentence[f"{name}_{way}"] for way in WAYS)
        found[f"{name}_times_pytorch_at_128"] = pytorch / jaxred
        found[f"{name}_real_lengths_times_padded_to_128"] = jaxred / real
    if {"xlnet", "bert"} <= set(names()):
        for way in ("jaxred_128", "jaxred_real_lengths"):
            found[f"xlnet_time_over_bert_{way}"] = (
                seconds_a_sentence[f"xlnet_{way}"] / seconds_a_sentence[f"bert_{way}"]
            )
    return found


def main(argv: list[str]) -> None:
    del argv
    import torch  # pyright: ignore[reportMissingImports]

    lengths = real_lengths(GLUE.value, 32 if SMALLEST.value else N_SENTENCES.value)
    plan = plan_batches(lengths, 2048 if jax.default_backend() == "cpu" else 65536)
    n_rows = 8 if SMALLEST.value else 32
    ways: dict[str, tuple[int, Callable[[], Any]]] = {}
    errors: dict[str, float] = {}
    for name in names():
        jaxred, pytorch = encoders(name)
        full = [padded(name, np.full(n_rows, 128), 128, n_rows)]
        errors[name] = 0.0
        by_length = [padded(name, lengths[batch.rows], batch.length, batch.n_rows) for batch in plan]
        for title, n, way, batches in zip(
            WAYS, (n_rows, n_rows, len(lengths)), (jaxred, pytorch, jaxred), (full, full, by_length), strict=True
        ):
            ways[f"{name}_{title}"] = n, lambda way=way, batches=batches: [way(batch) for batch in batches]
        for planned, batch in list(zip(plan, by_length, strict=True))[:: max(len(plan) // 4, 1)]:
            ours, theirs = (way(batch)[: len(planned.rows)].astype(float) for way in (jaxred, pytorch))
            error, size = (np.linalg.norm(x, axis=(0, 2)) for x in (ours - theirs, theirs))
            errors[name] = max(errors[name], float(np.max(error / size)))
    for _, way in ways.values():
        way()  # warm-up, and compilation
    seconds: dict[str, list[float]] = {title: [] for title in ways}
    for _ in range(1 if SMALLEST.value else ROUNDS.value):
        for title, (_, way) in ways.items():
            begin = time.perf_counter()
            way()
            seconds[title].append(time.perf_counter() - begin)
    report: dict[str, Any] = {
        "machine": _machine.describe() | {"torch": torch.__version__},
        "mean_tokens": float(lengths.mean()),
        "relative_error": {name: float(f"{error:.1e}") for name, error in errors.items()},
        "seconds": {title: [round(second, 3) for second in mine] for title, mine in seconds.items()},
    }
    for statistic, of in (("median", np.median), ("minimum", np.min)):
        a_sentence = {title: float(of(mine)) / ways[title][0] for title, mine in seconds.items()}
        report[f"by_{statistic}"] = {
            "sentences_per_second": {title: round(1 / second, 2) for title, second in a_sentence.items()},
            "ratios": {title: round(ratio, 2) for title, ratio in ratios(a_sentence).items()},
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
