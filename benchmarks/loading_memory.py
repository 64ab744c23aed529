"""Aim: a decoder of 1.5e9 parameters, loaded and run in bfloat16, takes at most 1.3 times its file of memory on a CPU.

    python benchmarks/loading_memory.py [--n_layers=24 --batch=8 --n_tokens=32 --folder=/dev/shm]

Writes a random Qwen2 (of 0.5e9 parameters by default, as Qwen2.5-0.5B) in bfloat16 as two shards, loads it in a process
of its own and runs one batch, whose mean vectors are kept. The peak memory of that process, less that of one which does
the same with a tiny model, is compared with the size of the files. The pages of mapped files count, as `ru_maxrss`
counts them.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import _machine
import ml_dtypes
import numpy as np
from absl import app, flags
from safetensors.numpy import save_file

N_LAYERS = flags.DEFINE_integer("n_layers", 24, "Layers.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 896, "Neurons of a layer.")
VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 151936, "Tokens of the vocabulary.")
BATCH = flags.DEFINE_integer("batch", 8, "Sentences of the batch.")
N_TOKENS = flags.DEFINE_integer("n_tokens", 32, "Tokens of each.")
FOLDER = flags.DEFINE_string("folder", None, "Where the files go for a while; by default where temporary files do.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
_MEASURED = flags.DEFINE_string("measured", None, "The checkpoint that this process loads; the parent's to set.")


def write_model(folder: Path, hidden_size: int, n_layers: int, vocab_size: int) -> int:
    """A random checkpoint; its size in bytes."""
    n_heads, n_key_heads, inner = hidden_size // 64, 2, hidden_size * 38 // 7
    folder.mkdir()
    config = {
        "model_type": "qwen2",
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_key_heads,
        "intermediate_size": inner,
    }
    (folder / "config.json").write_text(json.dumps(config))
    rng, key_size = np.random.default_rng(0), 64 * n_key_heads
    a_layer = {
        "input_layernorm.weight": (hidden_size,),
        "post_attention_layernorm.weight": (hidden_size,),
        "self_attn.q_proj.weight": (hidden_size, hidden_size),
        "self_attn.k_proj.weight": (key_size, hidden_size),
        "self_attn.v_proj.weight": (key_size, hidden_size),
        "self_attn.o_proj.weight": (hidden_size, hidden_size),
        "self_attn.q_proj.bias": (hidden_size,),
        "self_attn.k_proj.bias": (key_size,),
        "self_attn.v_proj.bias": (key_size,),
        "mlp.gate_proj.weight": (inner, hidden_size),
        "mlp.up_proj.weight": (inner, hidden_size),
        "mlp.down_proj.weight": (hidden_size, inner),
    }
    in_first = {"embed_tokens.weight": (vocab_size, hidden_size), "norm.weight": (hidden_size,)}
    in_second = {f"layers.{i}.{name}": shape for i in range(n_layers) for name, shape in a_layer.items()}
    weight_map, n_bytes = {}, 0
    for number, shapes in enumerate((in_first, in_second), start=1):
        tensors = {
            f"model.{name}": (rng.random(shape, np.float32) * 0.04 - 0.02 + name.endswith("norm.weight")).astype(
                ml_dtypes.bfloat16
            )
            for name, shape in shapes.items()
        }
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file(tensors, folder / file)
        weight_map |= dict.fromkeys(tensors, file)
        n_bytes += (folder / file).stat().st_size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return n_bytes


def run(folder: Path) -> None:
    """Loads a checkpoint and runs a batch; prints the peak memory of this process, in bytes, after each."""
    from jaxred.activations.encode import encode_fn
    from jaxred.models import load_encoder
    from jaxred.models.tokenization import PaddedBatch

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    model = load_encoder(folder, compute_dtype="bfloat16")
    loaded = peak()
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (BATCH.value, N_TOKENS.value)).astype(np.int32)
    batch = PaddedBatch(ids, np.ones(ids.shape, bool), np.zeros_like(ids), np.zeros(len(ids), np.int32))
    assert np.isfinite(encode_fn(model, "mean", "float32")(batch)).all()
    print(json.dumps({"loaded": loaded, "run": peak()}))


def main(argv: list[str]) -> None:
    if _MEASURED.value:
        run(Path(_MEASURED.value))
        return
    if SMALLEST.value:
        flags.FLAGS.hidden_size, flags.FLAGS.n_layers, flags.FLAGS.vocab_size = 128, 2, 100
    with tempfile.TemporaryDirectory(dir=FOLDER.value) as temporary:

        def peaks(folder: Path) -> dict[str, int]:
            command = [sys.executable, __file__, *argv[1:], f"--measured={folder}"]
            options = [f"--batch={BATCH.value}", f"--n_tokens={N_TOKENS.value}"]
            return json.loads(subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE).stdout)

        write_model(Path(temporary, "tiny"), 128, 2, 100)
        n_bytes = write_model(Path(temporary, "model"), HIDDEN_SIZE.value, N_LAYERS.value, VOCAB_SIZE.value)
        tiny, model = peaks(Path(temporary, "tiny")), peaks(Path(temporary, "model"))
    result = {
        "file_gigabytes": n_bytes / 1e9,
        **{f"{stage}_times_the_file": round((model[stage] - tiny[stage]) / n_bytes, 3) for stage in tiny},
        "machine": _machine.describe(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
