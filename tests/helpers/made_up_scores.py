"""Scores as results hold them, made up for tests of what shows them."""

from jaxred.io.records import from_json
from jaxred.probing.metrics import OVERALL
from jaxred.studies.results import ProbeScores


def scores(dev, test=0.7, train=0.9, beats=True, to_oracle=-0.01, error=0.001):
    """One probe's."""
    return {
        "train": {OVERALL: train},
        "dev": {OVERALL: dev},
        "test": {OVERALL: test},
        "standard_error": {"dev": error, "test": error},
        "interval": [test - 0.02, test + 0.02],
        "beats_constant": beats,
        "to_oracle": {"difference": to_oracle, "interval": [to_oracle - 0.005, to_oracle + 0.005]},
    }


def spread(mean, sd=0.0, runs=()):
    """A number over repeats."""
    return {"mean": mean, "sd": sd, "runs": list(runs)}


def spread_of_scores(dev, test, sd=(0.01, 0.02), beats=3, to_oracle=-0.01):
    """One probe's scores over repeats."""
    return {
        "train": spread(0.9, 0.0),
        "dev": spread(dev, sd[0]),
        "test": spread(test, sd[1]),
        "standard_error": {"dev": 0.001, "test": 0.001},
        "interval": [test - 0.02, test + 0.02],
        "beats_constant": beats,
        "to_oracle": {"difference": to_oracle, "interval": [to_oracle - 0.005, to_oracle + 0.005]},
    }


def scored(dev, test=0.7, beats=True):
    """One probe's with its score on resamples."""
    return from_json(ProbeScores, scores(dev, test, beats=beats))
