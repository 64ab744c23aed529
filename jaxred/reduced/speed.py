"""How fast a small model is next to the whole one."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import jax

from jaxred.reduced.card import Speed
from jaxred.reduced.model import ReducedModel

N_TEXTS, N_ROUNDS = 256, 3


def measure(whole: ReducedModel, small: ReducedModel, texts: Sequence[Any]) -> Speed:
    """Texts per second of both, on a sample spread over the texts: medians of rounds in which they take turns.

    Reading, tokenizing and fetching are part of the time; compiling is not, as each model has the sample once before.

    Args:
        whole: the whole encoder, with the oracle's head.
        small: the small model.
        texts: at least one.
    """
    sample = texts[:: max(1, len(texts) // N_TEXTS)][:N_TEXTS]
    seconds: dict[str, list[float]] = {"whole": [], "small": []}
    for turn in range(N_ROUNDS + 1):
        for name, model in (("whole", whole), ("small", small)):
            start = time.perf_counter()
            for _ in model.outputs(sample):  # on the host, so that all work is done
                pass
            if turn:
                seconds[name].append(time.perf_counter() - start)
    rates = {name: len(sample) / median(each) for name, each in seconds.items()}
    device = jax.devices()[0]
    return Speed(**rates, n_texts=len(sample), device=f"{device.platform} ({device.device_kind})")
