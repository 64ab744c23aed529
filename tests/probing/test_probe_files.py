import numpy as np
import pytest

from jaxred.errors import UserError
from jaxred.probing import Probe
from jaxred.probing.probe_files import load_probes, save_probes


def probe(n_columns, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_columns, 2)).astype(np.float32)
    return Probe(rng.permutation(6)[:n_columns], weights, rng.normal(size=2).astype(np.float32), np.zeros(10))


def test_saved_probes_come_back_exactly(tmp_path):
    probes = {"layers-0-1": probe(6), "layers-0-1-clustering-0.30-first-2": probe(2, 1)}
    save_probes(tmp_path / "probes", probes)
    loaded = load_probes(tmp_path / "probes")
    assert set(loaded) == set(probes)
    for name, saved in probes.items():
        for part in ("columns", "weights", "bias"):
            np.testing.assert_array_equal(loaded[name][part], getattr(saved, part))


def test_a_probe_without_neurons_is_its_bias_and_scaling_is_kept(tmp_path):
    scaling = np.arange(6, dtype=np.float32), np.ones(6, np.float32)
    save_probes(tmp_path / "probes", {"first-0": probe(0)}, scaling)
    loaded = load_probes(tmp_path / "probes")
    assert set(loaded["first-0"]) == {"bias"}
    np.testing.assert_array_equal(loaded["scaling"]["mean"], scaling[0])


def test_saving_again_replaces_and_leaves_nothing_else(tmp_path):
    save_probes(tmp_path / "probes", {"old": probe(3)})
    save_probes(tmp_path / "probes", {"new": probe(3)})
    assert set(load_probes(tmp_path / "probes")) == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["probes"]


def test_an_older_checkpoint_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    class Fails(ocp.PyTreeCheckpointer):
        def save(self, directory, *arguments, **options):
            super().save(directory, *arguments, **options)
            raise OSError(28, "No space left on device")

    save_probes(tmp_path / "probes", {"old": probe(3)})
    monkeypatch.setattr(ocp, "PyTreeCheckpointer", Fails)
    with pytest.raises(UserError, match="No space left on device"):
        save_probes(tmp_path / "probes", {"new": probe(3)})
    monkeypatch.undo()
    assert set(load_probes(tmp_path / "probes")) == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["probes"]


def test_missing_probes_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"run jaxred pipeline"):
        load_probes(tmp_path / "none")
