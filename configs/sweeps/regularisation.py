"""What l1 and l2 do to the minimal set of neurons on the built-in movie reviews, and how much of that is the seed.

    python launch/pipeline.py --config=configs/sweeps/regularisation.py --workdir=runs/regularisation

18 runs (3 l1, 3 l2, 2 seeds) on one extraction. For a quick look take part of the text,
`--config.task.limit_instances=2000`: 2 min 8 s of CPU time in all on 2 cores (8.5 min by the clock while other
programs ran). Any field that no axis sets can be given in this way.

Expect no trend from so little text: with 2,000 reviews (200 of them dev) the oracle scores 0.765 to 0.780 on dev and
0.767 to 0.777 on test whatever l1 and l2 are, and at l1 0 the seed alone moves the minimal set between 53 and 134.
"""

from jaxred.config import ExtractionConfig
from jaxred.sweeps.grid import Sweep


def get_config() -> Sweep:
    return Sweep(
        extraction=ExtractionConfig(pooling="mean"),  # the demo's, see configs/demo.py
        axes={
            "probe.l1": (0.0, 1e-5, 1e-3),
            "probe.l2": (0.0, 1e-5, 1e-3),
            "probe.seed": (42, 43),
        },
    )
