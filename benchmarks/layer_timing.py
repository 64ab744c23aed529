"""Section 7 of the paper: what a text costs by the number of layers that are kept, and what LayerSelector's cut saves.

    python benchmarks/layer_timing.py [--glue=glue_data] [--encoders=bert,xlnet,mpnet] [--output=runs/layer_timing]
        [--runs=runs/paper/sst2,runs/demo]

Encoders of base size (12 layers x 768, random weights: what they are does not change the time) cut to their first 0, 1,
... 12 layers read the same sentences, of SST-2's lengths or, without --glue, of the built-in corpus's; the vector of
each sentence is kept at every layer, as extraction keeps it. Each number of layers has its turn in every round, so that
a change of the machine's speed meets all; compiling is not counted. Prints milliseconds a sentence, mean and spread
(standard deviation) over the rounds. A straight line is fitted for each encoder: what is not in the layers, and a
layer. Of each finished study in --runs: the layers that LayerSelector keeps at each delta, and the share of the time of
its own encoder that this saves, by the same measure. Into --output go a table and a figure.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import _machine
import numpy as np
from _lengths import real_lengths
from absl import app, flags
from flax import nnx
from matplotlib.figure import Figure

from jaxred.activations.encode import encode_fn
from jaxred.activations.fetching import token_budget
from jaxred.activations.packing import pack
from jaxred.errors import UserError
from jaxred.io.tables import markdown
from jaxred.models import Encoder, load_encoder, pretrained
from jaxred.models.loading import architecture
from jaxred.models.tokenization import PaddedBatch
from jaxred.runs.run import open_run

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for SST-2's lengths.")
ENCODERS = flags.DEFINE_list("encoders", ["bert", "xlnet", "mpnet"], "Architectures, as config.json names them.")
RUNS = flags.DEFINE_list("runs", [], "Folders of finished studies.")
N_SENTENCES = flags.DEFINE_integer("n_sentences", 256, "Sentences that are read.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds after the warm-up.", lower_bound=2)
OUTPUT = flags.DEFINE_string("output", "", "A folder for layer_timing.md and layer_timing.png.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def of_base_size(name: str) -> Encoder:
    encoder_type = architecture(name)
    sizes = {"hidden_size": 768, "n_layers": 2 if SMALLEST.value else 12, "n_heads": 12, "intermediate_size": 3072}
    return encoder_type(encoder_type.config_type(**sizes), rngs=nnx.Rngs(0))


def reading(encoder: Encoder, lengths: np.ndarray) -> Callable[[], None]:
    """Reads all sentences, packed, and waits for their vectors."""
    layout = encoder.config.tokens
    pooling = "last" if layout.sentence_position is None else "cls"
    encode, random, batches = encode_fn(encoder, pooling, "float32"), np.random.default_rng(0), []
    for packing in pack(lengths, token_budget(), encoder.config.usable_length):
        shape = packing.shape.n_rows, packing.shape.length
        numbers, positions = np.zeros(shape, np.int32), np.zeros((shape[0], packing.shape.n_slots), np.int32)
        for sentence, row, start, slot in zip(
            packing.sentences, packing.rows, packing.starts, packing.slots, strict=True
        ):
            numbers[row, start : start + lengths[sentence]] = slot + 1
            positions[row, slot] = start if layout.sentence_position == "first" else start + lengths[sentence] - 1
        ids = random.integers(10, 1000, shape).astype(np.int32)
        batches.append(PaddedBatch(ids, numbers, np.zeros(shape, np.int32), positions))

    def read() -> None:
        for vectors in [encode.start(batch) for batch in batches]:
            vectors.result()

    return read


def timed(ways: dict[int, Callable[[], None]], n_sentences: int) -> dict[int, np.ndarray]:
    """Milliseconds a sentence in each round, by the number of layers."""
    for way in ways.values():
        way()  # compiles
    milliseconds: dict[int, list[float]] = {n_layers: [] for n_layers in ways}
    for _ in range(2 if SMALLEST.value else ROUNDS.value):
        for n_layers, way in ways.items():
            begin = time.perf_counter()
            way()
            milliseconds[n_layers].append((time.perf_counter() - begin) * 1e3 / n_sentences)
    return {n_layers: np.array(times) for n_layers, times in milliseconds.items()}


def drawn(found: dict[str, dict[int, np.ndarray]]) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), constrained_layout=True)
    axes = figure.subplots()
    for (name, of_layers), color in zip(found.items(), ("#2a5d9f", "#d97706", "#2f855a", "#8a919c"), strict=False):
        mean, spread = (np.array([f(times) for times in of_layers.values()]) for f in (np.mean, np.std))
        axes.plot([*of_layers], mean, color=color, marker="o", markersize=3, label=name)
        axes.fill_between([*of_layers], mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
    axes.set(xlabel="transformer layers kept", ylabel="milliseconds a sentence", xlim=(0, None), ylim=(0, None))
    axes.legend()
    return figure


def of_run(folder: str, lengths: np.ndarray) -> list[list[str]]:
    """What LayerSelector keeps of a study's encoder, and what that saves."""
    run = open_run(folder)
    encoder = load_encoder(pretrained.resolve(run.config.encoder.path), run.config.encoder.n_layers)
    whole = encoder.config.n_layers
    if run.pipeline is None:
        raise UserError(f"{folder} has no pipeline's result: run jaxred study there first.")
    kept = {choice.delta: choice.top_layer for choice in run.pipeline.layer_selection}
    cuts = sorted({*kept.values(), whole})
    times = timed({n: reading(encoder.first_layers(n), lengths) for n in cuts}, len(lengths))
    all_of_it = times[whole]
    rows = []
    for delta, n_layers in kept.items():
        saved = 1 - times[n_layers] / all_of_it
        share = f"{100 * saved.mean():.1f}% ± {100 * saved.std():.1f}"
        rows.append([str(folder), f"{delta:g}", f"{n_layers} of {whole}", f"{times[n_layers].mean():.2f}", share])
    return rows


def main(argv: list[str]) -> None:
    del argv
    lengths, found = real_lengths(GLUE.value, 16 if SMALLEST.value else N_SENTENCES.value), {}
    for name in ENCODERS.value:
        encoder = of_base_size(name)
        counts = range(encoder.config.n_layers + 1)
        found[name] = timed({n: reading(encoder.first_layers(n), lengths) for n in counts}, len(lengths))
    longest = max((max(of_layers) for of_layers in found.values()), default=-1)  # -1: of runs alone (--encoders=)
    lines = [["layers", *found]]
    for n_layers in range(longest + 1):
        cells = [of_layers.get(n_layers) for of_layers in found.values()]
        lines.append([str(n_layers), *("" if t is None else f"{t.mean():.2f} ± {t.std():.2f}" for t in cells)])
    fits = {name: np.polyfit([*t], [x.mean() for x in t.values()], 1) for name, t in found.items()}
    lines.append(["a layer, of a straight line", *(f"{slope:.2f}" for slope, _ in fits.values())])
    text = json.dumps(_machine.describe() | {"n_sentences": len(lengths), "mean_tokens": float(lengths.mean())}) + "\n"
    text += f"\nMilliseconds a sentence, mean and standard deviation over the rounds:\n\n{markdown(lines)}\n"
    if RUNS.value:
        header = ["run", "delta", "layers kept", "ms a sentence", "time saved"]
        text += f"\n{markdown([header, *(row for folder in RUNS.value for row in of_run(folder, lengths))])}\n"
    print(text)
    if OUTPUT.value:
        output = Path(OUTPUT.value)
        output.mkdir(parents=True, exist_ok=True)
        (output / "layer_timing.md").write_text(text)
        drawn(found).savefig(output / "layer_timing.png", dpi=150)


if __name__ == "__main__":
    app.run(main)
