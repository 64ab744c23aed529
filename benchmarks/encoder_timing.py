"""Claims: an XLNet of xlnet-base-cased's size runs as fast as PyTorch's at 128 tokens, at least three times as fast on
real lengths as when every sentence is padded to 128, and takes at most 1.4 times BERT's time.

    python benchmarks/encoder_timing.py [--glue=glue_data] [--encoders=xlnet,bert] [--n_sentences=128]

Encoders of 12 layers x 768 with random weights, in float32, every layer's sentence vector kept, in one run: jaxred and
PyTorch on the same batch of 32 x 128 tokens; then jaxred on the lengths of SST-2's sentences, sorted into its buckets,
and both on those sentences padded to 128 in batches of 32. The lengths are those of the dev file's words, or of the
built-in corpus where there is no --glue; ids are random, for what they are does not change the time. Compiling is not
counted; each way has one warm-up. Prints sentences/s and the ratios.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import _machine
import jax
import numpy as np
from absl import app, flags
from flax import nnx

from jaxred.config import TaskConfig
from jaxred.data import load_task
from jaxred.extract import encode_fn, plan_batches
from jaxred.models import bert, xlnet
from jaxred.tokenization import LAYOUTS, PaddedBatch

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for SST-2's lengths.")
ENCODERS = flags.DEFINE_list("encoders", ["xlnet", "bert"], "Which encoders to time.")
N_SENTENCES = flags.DEFINE_integer("n_sentences", 128, "Sentences of real lengths.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
ROUNDS = 3


def padded(name: str, lengths: np.ndarray, length: int, n_rows: int) -> PaddedBatch:
    """Random tokens of such lengths, laid out as the architecture has them."""
    layout = LAYOUTS[name]
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

    n_layers = 1 if SMALLEST.value else 12
    if name == "xlnet":
        config = xlnet.XLNetConfig(hidden_size=768, n_layers=n_layers, n_heads=12, intermediate_size=3072)
        model = xlnet.XLNet(config, rngs=nnx.Rngs(0))
        rival = transformers.XLNetModel(transformers.XLNetConfig.from_dict(config.to_dict()))
    else:
        config = bert.BertConfig(n_layers=n_layers)
        model = bert.Bert(config, rngs=nnx.Rngs(0))
        rival = transformers.BertModel(transformers.BertConfig.from_dict(config.to_dict()), add_pooling_layer=False)
    rival.eval()  # type: ignore[no-untyped-call]
    encode = encode_fn(model, "cls", "float32")

    def by_pytorch(batch: PaddedBatch) -> Any:
        with torch.inference_mode():
            outputs = rival(
                input_ids=torch.from_numpy(batch.input_ids).long(),
                attention_mask=torch.from_numpy(batch.attention_mask).long(),
                token_type_ids=torch.from_numpy(batch.token_type_ids).long(),
                output_hidden_states=True,
            )
            return torch.stack([h[:, batch.positions[0]] for h in outputs.hidden_states], 1).numpy()

    return lambda batch: np.asarray(encode(batch)), by_pytorch


def real_lengths() -> np.ndarray:
    task = TaskConfig(name="sst2", data_dir=GLUE.value) if GLUE.value else TaskConfig()
    texts = [example.text for example in load_task(task).splits["test"]]
    n = 32 if SMALLEST.value else N_SENTENCES.value
    words = np.array([len(text.split()) for text in texts[:: max(len(texts) // n, 1)][:n]])
    return np.minimum(np.round(words * 1.25).astype(int) + 2, 128)  # xlnet-base-cased: 1.25 pieces a word of SST-2


def main(argv: list[str]) -> None:
    del argv
    import torch  # pyright: ignore[reportMissingImports]

    lengths = real_lengths()
    budget = 2048 if jax.default_backend() == "cpu" else 65536
    ways: dict[str, tuple[int, Callable[[], Any]]] = {}
    for name in ENCODERS.value:
        jaxred, pytorch = encoders(name)
        n_rows = 8 if SMALLEST.value else 32
        full = [padded(name, np.full(n_rows, 128), 128, n_rows)]
        plan = plan_batches(lengths, budget)
        by_length = [padded(name, lengths[batch.rows], batch.length, batch.n_rows) for batch in plan]
        chunks = [lengths[i : i + 32] for i in range(0, len(lengths), 32)]
        to_128 = [padded(name, chunk, 128, 32) for chunk in chunks]
        for title, n, way, batches in (
            (f"{name}_jaxred_128", n_rows, jaxred, full),
            (f"{name}_pytorch_128", n_rows, pytorch, full),
            (f"{name}_jaxred_real_lengths", len(lengths), jaxred, by_length),
            (f"{name}_jaxred_padded_to_128", len(lengths), jaxred, to_128),
            (f"{name}_pytorch_padded_to_128", len(lengths), pytorch, to_128),
        ):
            ways[title] = n, lambda way=way, batches=batches: [way(batch) for batch in batches]
    seconds: dict[str, list[float]] = {title: [] for title in ways}
    for _, way in ways.values():
        way()  # warm-up, and compilation
    for i in range(1 if SMALLEST.value else ROUNDS):  # in turn, so that a change of the machine's speed meets all
        for title, (_, way) in ways.items():
            if i and "padded" in title:
                continue  # the long ones once
            begin = time.perf_counter()
            way()
            seconds[title].append(time.perf_counter() - begin)
    rate = {title: ways[title][0] / float(np.median(times)) for title, times in seconds.items()}
    ratios = {}
    for name in ENCODERS.value:
        ratios[f"{name}_times_pytorch_at_128"] = rate[f"{name}_jaxred_128"] / rate[f"{name}_pytorch_128"]
        for rival in ("jaxred", "pytorch"):
            padded_rate = rate[f"{name}_{rival}_padded_to_128"]
            ratios[f"{name}_real_lengths_times_{rival}_padded_to_128"] = (
                rate[f"{name}_jaxred_real_lengths"] / padded_rate
            )
    if {"xlnet", "bert"} <= set(ENCODERS.value):
        for at in ("128", "real_lengths"):
            ratios[f"xlnet_time_over_bert_{at}"] = rate[f"bert_jaxred_{at}"] / rate[f"xlnet_jaxred_{at}"]
    report = {
        "machine": _machine.describe() | {"torch": torch.__version__},
        "mean_tokens": float(lengths.mean()),
        "sentences_per_second": rate,
        "seconds": seconds,
        "ratios": ratios,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
