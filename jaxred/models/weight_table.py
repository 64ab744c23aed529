"""What an architecture's parameters are called in Hugging Face checkpoints, and where in a tensor each is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Stored:
    """Where a parameter is in a checkpoint, where it is not one tensor by itself, or not as other kernels are."""

    name: str
    part: int = 0  # of the tensor's outputs, cut into `n_parts` equal ones
    n_parts: int = 1
    outputs_last: bool = False  # a kernel that is (in, out) in the checkpoint too


class Slot(NamedTuple):
    """A tensor of a checkpoint, or a part of it, and where it belongs."""

    view: np.ndarray  # of a parameter of the model, as the checkpoint has it
    stored: Stored
    axis: int  # of the tensor's outputs

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole tensor's."""
        shape = list(self.view.shape)
        shape[self.axis] *= self.stored.n_parts
        return tuple(shape)

    @property
    def index(self) -> tuple[slice, ...]:
        """The part's, in the tensor."""
        length = self.view.shape[self.axis]
        part = slice(self.stored.part * length, (self.stored.part + 1) * length)
        return (*[slice(None)] * self.axis, part)


@dataclass(frozen=True)
class WeightTable:
    """What an architecture's parameters are called in Hugging Face checkpoints.

    Two rules complete it: a name with `{}` stands for one tensor per layer, stacked in the model along a leading axis;
    and a parameter whose path ends in `.kernel` is (in, out) in the model and (out, in) in the checkpoint.
    """

    names: Mapping[str, str | Stored]  # path in the model -> name in the checkpoint
    prefix: str  # what a checkpoint with a task head puts before those names
    ignored: str  # pattern of whole names that are no weights of the encoder, unless this one has them: heads, buffers
    renamed: Mapping[str, str] = field(default_factory=dict)  # old ending of a name -> its present one
    absent: Collection[str] = ()  # names that checkpoints do not have, of parameters that are not used

    def canonical(self, name: str) -> str:
        """A checkpoint's name without the prefix and in its present spelling."""
        return self.spelled(name.removeprefix(self.prefix))

    def spelled(self, name: str) -> str:
        """A name in its present spelling."""
        for old, new in self.renamed.items():
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    def slots(self, path: tuple[Any, ...], parameter: np.ndarray) -> dict[str, Slot]:
        """The checkpoint's tensors, by name, that one parameter of the model is made of."""
        stored = self.names[".".join(path)]
        stored = Stored(stored) if isinstance(stored, str) else stored
        turned = path[-1] == "kernel" and not stored.outputs_last
        array = parameter.swapaxes(-1, -2) if turned else parameter
        by_layer = "{}" in stored.name
        axis = 0 if turned or by_layer + 1 == array.ndim else array.ndim - 1 - by_layer
        if not by_layer:
            return {stored.name: Slot(array, stored, axis)}
        slots = {stored.name.format(layer): Slot(array[layer], stored, axis) for layer in range(len(array))}
        return {name: slot for name, slot in slots.items() if name not in self.absent}
