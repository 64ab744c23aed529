"""The minimal neuron set out of all neurons of all layers. Extracts the activations first if they are missing.

    python launch/minimal_neurons.py --config=configs/demo.py --workdir=runs/demo
    python launch/minimal_neurons.py --config=configs/demo.py --config.selection.fractions='(0.01, 0.1, 0.5)' ...

Tries the original's 112 sizes unless `selection.fractions` names others. Writes WORKDIR/results/minimal_neurons.json,
WORKDIR/results/all_results_minimal_neurons.json (the original's format) and WORKDIR/probes/minimal_neurons.
"""

from jaxred.cli import app
from jaxred.config import StudyConfig
from jaxred.runs import study


def main(config: StudyConfig, workdir: str, overwrite: bool) -> None:
    folder = study.run_stages(config, workdir, overwrite, ("minimal_neurons",))
    print(study.printed("minimal_neurons", config, folder))


if __name__ == "__main__":
    app.run(main)
