"""What a process that dies while it writes stores may leave behind."""

import shutil

import tensorstore as ts

from helpers.tiny_encoder import contents


class _Done:
    def __init__(self, value):
        self._value = value

    def result(self, timeout: float | None = None):
        return self._value


class _Watched:
    """A TensorStore object whose changes to the storage happen at once and are told."""

    def __init__(self, real, storage):
        self._real, self._storage = real, storage

    def __getattr__(self, name):
        attribute = getattr(self._real, name)
        if name in ("write", "delete_range"):
            return lambda *args, **options: self._storage.change(lambda: attribute(*args, **options).result())
        return attribute

    def __getitem__(self, key):
        return _Watched(self._real[key], self._storage)


class _Storage:
    """Stands for the module `tensorstore`: after every change to the storage, keeps a copy of the folder."""

    KeyRange = ts.KvStore.KeyRange
    float32 = ts.float32

    def __init__(self, folder, copies):
        self.folder, self.copies, self.KvStore = folder, copies, self
        self.n_changes = 0

    def open(self, spec, **options):
        if options:  # an array that is made if it is not there
            return self.change(lambda: _Watched(ts.open(spec, **options).result(), self))
        array = isinstance(spec, dict) and spec["driver"] == "zarr3"
        return _Done(_Watched((ts.open if array else ts.KvStore.open)(spec).result(), self))

    def cast(self, array, dtype):
        return ts.cast(array._real, dtype)

    def change(self, action):
        value = action()
        self.n_changes += 1
        shutil.copytree(self.folder, self.copies / f"{self.n_changes:03}")
        return _Done(value)


def not_gone_on_with(left, go_on, expected):
    """The folders that are not `expected` once `go_on` has worked on them, with the files that they held before.

    Args:
        left: folders that a process which died may have left.
        go_on: does the work again in a folder.
        expected: the contents of an undisturbed one.
    """
    wrong = {}
    for state in left:
        found = contents(state)
        go_on(state)
        if contents(state) != expected:
            wrong[state.name] = sorted(found)
    return wrong


def states(monkeypatch, run, folder, copies):
    """What a process that dies while it does `run` may leave: the folder after each of its changes to the storage."""
    storage = _Storage(folder, copies)
    with monkeypatch.context() as patch:
        for module in ("kvstore", "damage", "making", "marks", "reader"):
            patch.setattr(f"jaxred.activations.store.{module}.ts", storage)
        run()
    assert storage.n_changes > 0
    return sorted(copies.iterdir())
