"""Trains families of probes and asks them for predictions: many probes, one read of the data.

A probe has the same weights whether it is trained alone, in a family, in a part of one (families are cut to a memory
budget and spread over devices), or from a matrix that is streamed.
"""

from jaxred.probing.fista import Solution
from jaxred.probing.parts import Settings, settings_of
from jaxred.probing.trained import Fit, Probe, fit

__all__ = ["Fit", "Probe", "Settings", "Solution", "fit", "settings_of"]
