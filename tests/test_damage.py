"""Files of a finished workdir are flipped, cut and removed at random: what is run again rejects by name, makes again,
or gives the same.
"""

import logging
import random
import re
import shutil
from dataclasses import replace

import pytest
from helpers import tiny_encoder

from jaxred.activations.store import Store
from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig
from jaxred.errors import UserError
from jaxred.io.result_files import load_result
from jaxred.probing.probe_files import load_probes
from jaxred.runs import report, study
from jaxred.runs.verification import verify
from jaxred.runs.workdir import Workdir

STAGES = ("redundancy", "cluster_sweep")
DAMAGES = ("flipped", "cut", "removed", "emptied")
PLACES = ("results", "digests", "report.html", "config.json", "figures", "probes", "moments", "activations")
N_TRIALS = 3  # of a place and damage


def run(config, folder):
    """What a launcher with --verify does, in this process."""
    verify(config, str(folder))
    workdir = study.run_stages(config, str(folder), False, STAGES)
    report.write(workdir)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder_folder):
    """A tiny study that is done, and the configuration of it."""
    folder = tmp_path_factory.mktemp("damage")
    texts = tiny_encoder.sentences(36)
    splits = {"train": texts[:20], "dev": texts[20:28], "test": texts[28:]}
    config = replace(
        tiny_encoder.study_config(encoder_folder, tiny_encoder.write_task(folder / "task", splits)),
        probe=ProbeConfig(epochs=1),
        clustering=ClusteringConfig(sweep_thresholds=(-1.0, 0.3)),
        selection=SelectionConfig(fractions=(0.5,)),
    )
    run(config, folder / "run")
    return config, folder / "run"


def damaged(content: bytes, how: str, rng: random.Random) -> bytes:
    if how == "flipped":
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    return content[: rng.randrange(len(content))] if how == "cut" else b""


def told(folder):
    """What a workdir tells, as its reader sees it."""
    workdir = Workdir(folder)
    content = {file.name: file.read_bytes() for file in sorted((folder / "results").glob("*.csv"))}
    content |= {file.name: file.read_bytes() for file in sorted((folder / "figures").glob("*.png"))}
    content |= {stage: load_result(workdir.result(stage)) for stage in STAGES}
    content["all_results"] = workdir.result("all_results_cluster_sweep").read_bytes()
    stores = [Store(workdir.activations(split)) for split in ("train", "dev", "test")]
    content["activations"] = [[store.matrix().tolist(), store.labels().tolist()] for store in stores]
    content["config"] = workdir.saved_config()
    content["report"] = re.sub("Written by .*", "", workdir.report.read_text())  # which has the time
    content["probes"] = {
        name: {key: array.tolist() for key, array in arrays.items()}
        for name, arrays in load_probes(workdir.probes("cluster_sweep")).items()
    }
    return content


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("place", PLACES)
def test_damage_is_named_mended_or_harmless(finished, tmp_path, place, how, caplog):
    config, original = finished
    caplog.set_level(logging.INFO)
    logging.getLogger("jaxred").propagate = True
    before, rng = told(original), random.Random(f"{place} {how}")
    for trial in range(N_TRIALS):
        folder = tmp_path / str(trial) / "run"
        shutil.copytree(original, folder)
        under = [folder / place] if (folder / place).is_file() else sorted((folder / place).rglob("*"))
        file = rng.choice([path for path in under if path.is_file() and path.stat().st_size])
        left = b"" if how == "removed" else damaged(file.read_bytes(), how, rng)
        file.unlink() if how == "removed" else file.write_bytes(left)
        caplog.clear()
        try:
            run(config, folder)
        except UserError as error:
            said, name = str(error), file.relative_to(folder)
            assert place != "activations" or file.name == "ledger.json", "it can be extracted again"
            assert any(str(part) in said for part in (file, file.parent, *_store(folder, name))), (name, said)
            continue
        assert told(folder) == before, file
        if how != "removed" and not (file.exists() and file.read_bytes() == left):  # probes have other names
            assert f"{file} " in caplog.text, "made again in silence"
        run(config, folder)  # and what was mended is whole
        assert "made again" not in caplog.text.split("cluster sweep: kept")[-1]


def _store(folder, name):
    """The folder of the store that a file is of, by which it is named."""
    return [folder / name.parts[0] / name.parts[1]] if name.parts[0] == "activations" else []
