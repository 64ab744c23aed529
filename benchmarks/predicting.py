"""Claims: a small model of k layers answers at 0.9 times (layers of the whole / k) the whole model's speed or more, and
`jaxred predict` starts in less than 3 s where its programs were compiled before.

    python benchmarks/predicting.py [--encoder=all-MiniLM-L6-v2] [--layers=1,2,3,4] [--n_texts=512] [--rounds=5]

The whole encoder and its first k layers, each with a head on the neurons of its layers, from text to answers of the
test reviews, in turns; compiling is not counted. Embeddings, tokenizing and the head are in both, so that the ratio
cannot reach the whole / k where k is small. `startup_seconds` are of whole processes with 10 texts, one after another.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import _machine
from absl import app, flags

from jaxred.config import EncoderConfig, StudyConfig, TaskConfig
from jaxred.data.movie_reviews import load_movie_reviews
from jaxred.reduced.model import ReducedModel
from jaxred.runs.run import open_run
from jaxred.runs.study import run_stages

ENCODER = flags.DEFINE_string("encoder", "all-MiniLM-L6-v2", "A folder or a name.")
LAYERS = flags.DEFINE_list("layers", ["1", "2", "3", "4"], "Layers of the small models.")
N_TEXTS = flags.DEFINE_integer("n_texts", 512, "Texts that are answered.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds after the warm-up.", lower_bound=1)
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def startup(model: ReducedModel, place: Path) -> list[float]:
    """Seconds of `jaxred predict` on 10 texts, of which the first compiles."""
    model.save(place / "small")
    (place / "texts.txt").write_text("a fine film\n" * 10)
    launcher = Path(__file__).parent.parent / "launch" / "predict.py"
    command = [sys.executable, str(launcher), f"--model={place / 'small'}", f"--input={place / 'texts.txt'}"]
    seconds = []
    for turn in range(2 if SMALLEST.value else 4):
        begin = time.perf_counter()
        subprocess.run([*command, f"--output={place / f'{turn}.csv'}"], check=True, capture_output=True)
        seconds.append(round(time.perf_counter() - begin, 2))
    return seconds


def main(argv: list[str]) -> None:
    del argv
    n = 16 if SMALLEST.value else N_TEXTS.value
    texts = [row.text for row in load_movie_reviews("classification").splits["test"]][:n]
    with tempfile.TemporaryDirectory() as place:
        config = StudyConfig(TaskConfig(limit_instances=64), encoder=EncoderConfig(path=ENCODER.value))
        run_stages(config, f"{place}/run", False, ("pipeline",))
        run = open_run(f"{place}/run")
        models = {"whole": run.reduced("oracle")}
        wanted = LAYERS.value[:1] if SMALLEST.value else LAYERS.value
        models |= {k: run.reduced(f"layers-0-{k}") for k in wanted}
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for turn in range((1 if SMALLEST.value else ROUNDS.value) + 1):
            for name, model in models.items():
                begin = time.perf_counter()
                model.predict(texts)
                if turn:
                    seconds[name].append(time.perf_counter() - begin)
        started = startup(models[wanted[-1]], Path(place))
    rates = {name: len(texts) / median(each) for name, each in seconds.items()}
    n_layers = models["whole"].n_layers
    report: dict[str, Any] = {
        "machine": _machine.describe(),
        "encoder": ENCODER.value,
        "texts_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "times_whole": {k: round(rates[k] / rates["whole"], 2) for k in wanted},
        "share_of_layers_ratio": {k: round(rates[k] / rates["whole"] / (n_layers / int(k)), 2) for k in wanted},
        "startup_seconds": started,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
