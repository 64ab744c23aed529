"""A traced program replayed as primitives, in the form that jax2onnx translates rightly.

jax2onnx replaces functions of jax.numpy by its own while it traces, and those do not all take axes of unknown length.
A program that is traced before that, and replayed, has primitives alone. Of these, a broadcast of a broadcast is
replayed as one: jax2onnx 0.17 takes the first axis of the inner one for that of the outer one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal

_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}


class _Broadcast:
    """A broadcast that is made when something other than a broadcast reads it."""

    def __init__(self, operand: Any, shape: Sequence[Any], dimensions: Sequence[Any]):
        self.operand, self.shape, self.dimensions = operand, tuple(shape), tuple(map(int, dimensions))
        self._made: Any = None

    def of(self, shape: Sequence[Any], dimensions: Sequence[Any]) -> "_Broadcast":
        """A broadcast of this one."""
        return _Broadcast(self.operand, shape, [dimensions[dimension] for dimension in self.dimensions])

    def made(self) -> Any:
        if self._made is None:
            self._made = jax.lax.broadcast_in_dim(self.operand, self.shape, self.dimensions)
        return self._made


def replayed(program: ClosedJaxpr) -> Callable[..., list[Any]]:
    """The program as a function of its inputs, which gives its outputs."""
    return lambda *inputs: [_value(output) for output in _replay(program, inputs)]


def _replay(program: ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(program.jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in program.jaxpr.eqns:
        operands, name, settings = [read(atom) for atom in equation.invars], equation.primitive.name, equation.params
        if name == "broadcast_in_dim" and len(operands) == 1:
            shape, dimensions = settings["shape"], settings["broadcast_dimensions"]
            inner = operands[0]
            outer = inner.of if isinstance(inner, _Broadcast) else lambda *how, inner=inner: _Broadcast(inner, *how)
            made = [outer(shape, dimensions)]
        elif name in _CALLS:
            made = _replay(settings[_CALLS[name]], operands)
        else:
            made = equation.primitive.bind(*map(_value, operands), **settings)
            made = made if equation.primitive.multiple_results else [made]
        values |= dict(zip(equation.outvars, made, strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def _value(value: Any) -> Any:
    return value.made() if isinstance(value, _Broadcast) else value
