"""Elastic-net probes as scikit-learn estimators: one probe, or many at once on one read of the data.

    probe = ElasticNetProbe(l1=1e-3).fit(X, labels)
    probe.score(X_test, labels_test), probe.neurons(10), probe.coef_

`X` is a matrix [row, neuron], an array [row, layer, neuron], whose neurons are numbered layer * hidden size + index, or
anything with a method `matrix()` that gives either, such as a store of activations.
"""

from jaxred.probing.estimators.elastic_net import ElasticNetProbe, ElasticNetProbeRegressor
from jaxred.probing.estimators.family import ProbeFamily

__all__ = ["ElasticNetProbe", "ElasticNetProbeRegressor", "ProbeFamily"]
