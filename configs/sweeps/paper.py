"""The paper's tables on a public model: what sentence tasks need of an encoder that is fine-tuned on each, and what
labelled words need of the encoder as it is.

    python launch/study.py --config=configs/sweeps/paper.py:data --workdir=runs/paper
    python launch/study.py --config=configs/sweeps/paper.py:data,sst2,mrpc,2000 \
        --config.encoder.path=all-mpnet-base-v2 --workdir=runs/paper_mpnet

`data` has the folders glue (with SST-2, MRPC, RTE, STS-B, CoLA in it), conll2000, ud_english_ewt and pmb (the Parallel
Meaning Bank's gold files). The tasks: sst2, mrpc, rte, stsb, cola, chunk, pos, semtag; all where none is named. SST-2
is cut to 10,000 sentences and labelled words to 20,000, so that all of it takes about an hour on two cores with MiniLM;
a number among the tasks cuts every sentence task to so many, for an encoder that trains slowly.
A run that was killed resumes, within a fine-tuning too.
"""

from typing import Any

from jaxred.errors import UserError
from jaxred.sweeps.grid import Sweep

GLUE = {"sst2": "accuracy", "mrpc": "accuracy", "rte": "accuracy", "stsb": "pearson", "cola": "matthews_corrcoef"}
WORDS = {
    "chunk": ("conll2000_chunk", "conll2000", "I-NP"),
    "pos": ("ud_pos", "ud_english_ewt", "NOUN"),
    "semtag": ("pmb_semtag", "pmb", "CON"),
}
N_SENTENCES, N_WORDS = 10_000, 20_000


def get_config(argument: str = "data") -> Sweep:
    folder, *rest = argument.split(",")
    limits = {"sst2": N_SENTENCES}
    for number in filter(str.isdecimal, rest):
        limits = dict.fromkeys(GLUE, int(number))
    tasks = [name for name in rest if not name.isdecimal()] or [*GLUE, *WORDS]
    for task in tasks:
        if task not in (*GLUE, *WORDS):
            raise UserError(
                f"configs/sweeps/paper.py: the task {task!r} is not known: choose from {', '.join([*GLUE, *WORDS])}, "
                "and a number of sentences."
            )
    axes = {"task": {task: _fields(task, folder, limits.get(task, -1)) for task in tasks}}
    return Sweep(measure_speed=True, axes=axes)


def _fields(task: str, folder: str, limit: int) -> dict[str, Any]:
    if task in WORDS:
        name, place, fallback = WORDS[task]
        return {
            "task.name": name,
            "task.kind": "classification",
            "task.metric": "accuracy",
            "task.data_dir": f"{folder}/{place}",
            "task.limit_instances": N_WORDS,
            "task.fallback_label": fallback,
            "finetune.enabled": False,
        }
    return {
        "task.name": task,
        "task.kind": "regression" if task == "stsb" else "classification",
        "task.metric": GLUE[task],
        "task.data_dir": f"{folder}/glue",
        "task.limit_instances": limit,
        "finetune.enabled": True,
    }
