"""Claim: control tasks and code lengths of all layers, prefixes and minimal sets cost at most 3 times the pipeline
without them, so that a study with them takes at most 4 times.

    python benchmarks/controls.py --glue=glue_data [--n_sentences=5000] [--encoder=all-MiniLM-L6-v2]

Extraction is not counted. Both are run in a process that has compiled nothing before; without --glue, of the built-in
reviews. Prints seconds of the pipeline and of the controls, and their ratio: on 2 cores of an Intel Xeon that had other
work too, 23.53 s and 39.36 s, 1.67 (SST-2, 5,000 sentences, all-MiniLM-L6-v2).
"""

import json
import tempfile
import time
from typing import Any

import _machine
from absl import app, flags

from jaxred.config import EncoderConfig, StudyConfig, TaskConfig
from jaxred.runs.study import run_stages

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for SST-2; empty: the built-in reviews.")
ENCODER = flags.DEFINE_string("encoder", "all-MiniLM-L6-v2", "A folder or a name.")
N_SENTENCES = flags.DEFINE_integer("n_sentences", 5000, "Sentences of each split.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def main(argv: list[str]) -> None:
    del argv
    n = 80 if SMALLEST.value else N_SENTENCES.value
    task = TaskConfig(name="sst2", data_dir=GLUE.value) if GLUE.value else TaskConfig()
    task.limit_instances = n
    config = StudyConfig(task, encoder=EncoderConfig(path=ENCODER.value))
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        run_stages(config, place, False, ())  # the activations
        for name in ("pipeline", "controls"):
            begin = time.perf_counter()
            run_stages(config, place, False, (name,))
            seconds[name] = time.perf_counter() - begin
    result: dict[str, Any] = {**_machine.describe(), "sentences": n, "task": config.task.name}
    result |= {f"{name}_seconds": round(value, 2) for name, value in seconds.items()}
    print(json.dumps(result | {"controls_to_pipeline": round(seconds["controls"] / seconds["pipeline"], 2)}, indent=2))


if __name__ == "__main__":
    app.run(main)
