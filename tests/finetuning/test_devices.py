"""Two devices train the same weights as one."""

import numpy as np
from helpers.processes import run_program
from helpers.small_training import small

# A large epsilon: Adam makes steps of the rounding errors of what has no gradient, such as the biases of keys.
SETTINGS = {"epochs": 1, "sizes": (44, 24), "accumulation": 2, "epsilon": 1e-2}
PROGRAM = """
import sys, pathlib
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
from helpers.small_training import small
encoder, folder, settings = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), eval(sys.argv[3])
for words in (False, True):
    tuning = small(encoder, words=words, **settings)
    assert len(tuning.trainer.devices) == 2
    outcome = tuning.run(folder / str(words))
    named = {"/".join(map(str, path)): array for path, array in outcome.params.items()}
    np.savez(folder / f"{words}.npz", **named, losses=outcome.losses, dev=outcome.dev)
"""


def test_two_devices_train_the_same_weights(encoder_folder, tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = run_program(PROGRAM, str(encoder_folder), str(tmp_path), repr(SETTINGS), environment=flags)
    assert done.returncode == 0, done.stderr
    for words in (False, True):
        tuning = small(encoder_folder, words=words, **SETTINGS)
        assert len(tuning.trainer.devices) == 1
        one = tuning.run(tmp_path / f"one {words}")
        with np.load(tmp_path / f"{words}.npz") as arrays:
            two = dict(arrays)
        np.testing.assert_allclose(two["losses"], one.losses, rtol=1e-5)
        np.testing.assert_array_equal(two["dev"], one.dev)
        start = {path: np.asarray(leaf) for path, leaf in tuning.trainer.start().params.items()}
        moved = np.sqrt(sum(np.sum((one.params[path] - start[path]) ** 2) for path in start))
        for path, array in one.params.items():
            name = "/".join(map(str, path))
            assert np.linalg.norm(two[name] - array) < 1e-5 * max(moved, np.linalg.norm(array)), name
