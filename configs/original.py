"""An experiment file of the original, unchanged: its activations, labels, probe, thresholds and deltas.

    python launch/pipeline.py --config=configs/original.py:experiment.json

does what the original's `run_pipeline_all.py --config experiment.json` (words; the file names a dev set) and
`run_sentence_pipeline_all.py --config experiment.json` (sentences) do, and writes all_results.json into the file's
`output_directory`, which is also the workdir unless `--workdir` names another. The activations are read once, from
JSON lines or HDF5, into the workdir. Without a file it lists the keys that one has. See docs/original.md.
"""

from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.original import experiment


def get_config(path: str = "") -> StudyConfig:
    if not path:
        raise UserError(
            "configs/original.py needs an experiment file of the original: pass "
            "--config=configs/original.py:experiment.json. It is a JSON object with these keys:\n"
            f"{experiment.describe()}"
        )
    return experiment.study_config(experiment.load(path))
