"""What a corpus costs: bytes, files, requests of an object storage and hours of a device, from a measured rate.

    python benchmarks/extraction_cost.py --sentences_per_second=340 [--encoder=all-mpnet-base-v2]

The rate is what `benchmarks/extraction.py` printed on the machine that is meant. Bytes are those of the files of a
store, by its own ledger. Prints a table in Markdown.
"""

from absl import app, flags
from transformers import AutoConfig

from jaxred.activations.store import Ledger
from jaxred.config import ExtractionConfig
from jaxred.models import pretrained

ENCODER = flags.DEFINE_string("encoder", "all-MiniLM-L6-v2", "A folder or a name.")
RATE = flags.DEFINE_float("sentences_per_second", 340.0, "Of one process, as measured.")
N_SENTENCES = flags.DEFINE_list("n_sentences", ["1000000", "1000000000"], "Sizes of a corpus.")
PROCESSES = flags.DEFINE_list("n_processes", ["1", "64"], "Numbers of processes that share it.")
SMALLEST = flags.DEFINE_bool("smallest", False, "The same: nothing is computed.")


def main(argv: list[str]) -> None:
    config = AutoConfig.from_pretrained(pretrained.resolve(ENCODER.value))
    n_layers, hidden_size = config.num_hidden_layers + 1, config.hidden_size
    print(f"{ENCODER.value}: {n_layers} layers x {hidden_size}; {RATE.value:g} sentences/s a process\n")
    print("| sentences | layers | type | bytes | files | requests to write | hours, by processes |")
    print("| ---: | --- | --- | ---: | ---: | ---: | --- |")
    for n in map(int, N_SENTENCES.value):
        for layers, dtype in ((n_layers, "float32"), (n_layers, "bfloat16"), (1, "bfloat16")):
            ledger = Ledger({}, n, layers, hidden_size, dtype, ExtractionConfig().window_rows, [])
            full, rest = divmod(n, ledger.window_rows)
            n_windows = full + bool(rest)
            window = sum(size for (size,) in _first_window(ledger).values())
            n_bytes = window * n / ledger.window_rows
            hours = ", ".join(f"{n / RATE.value / 3600 / p:,.1f} ({p:,})" for p in map(int, PROCESSES.value))
            kept = "all" if layers == n_layers else "one"
            n_files = n_windows * layers
            print(
                f"| {n:,} | {kept} | {dtype} | {n_bytes / 1e9:,.1f} GB | {n_files:,} | {n_files + 2 * n_windows:,} | "
                f"{hours} |"
            )


def _first_window(ledger: Ledger) -> dict[str, tuple[int, ...]]:
    """The sizes of the files of one window."""
    one = Ledger(ledger.identity, ledger.window_rows, ledger.n_layers, ledger.hidden_size, ledger.dtype,
                 ledger.window_rows, [])  # fmt: skip
    return {file: size for file, size in one.shard_sizes.items() if file.startswith("hidden_states")}


if __name__ == "__main__":
    app.run(main)
