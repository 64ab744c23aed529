"""jaxred measures how much of a pretrained transformer is redundant, and finds the few layers and neurons a task
needs.

The names below are all that is promised to stay; each is imported when it is first used, so that `import jaxred` takes
no time.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "study": "runs.from_python",
    "finetune": "runs.from_python",
    "hidden_states": "runs.from_python",
    "redundancy": "runs.from_python",
    "ablate": "runs.from_python",
    "layer_measures": "runs.from_python",
    "open_run": "runs.run",
    "top_words": "runs.top_words",
    "Run": "runs.run",
    "load_reduced": "reduced.model",
    "ReducedModel": "reduced.model",
    "HiddenStates": "activations.in_memory",
    "Store": "activations.store",
    "to_store": "activations.files.conversion",
    "to_file": "activations.files.exporting",
    "ElasticNetProbe": "probing.estimators",
    "ElasticNetProbeRegressor": "probing.estimators",
    "ProbeFamily": "probing.estimators",
    "Probe": "probing",
    "PipelineResult": "studies.results",
    "ClusterSweepResult": "studies.results",
    "MinimalNeuronsResult": "studies.results",
    "GeneralRedundancy": "studies.results",
    "AblationResult": "studies.results",
    "AblationConfig": "config",
    "LayerMeasures": "studies.results",
    "NeuronExamples": "studies.results",
    "ControlsResult": "studies.results",
    "StudyConfig": "config",
    "TaskConfig": "config",
    "EncoderConfig": "config",
    "ExtractionConfig": "config",
    "FinetuneConfig": "config",
    "ProbeConfig": "config",
    "ClusteringConfig": "config",
    "ControlsConfig": "config",
    "SelectionConfig": "config",
    "SourceConfig": "config",
    "UserError": "errors",
}
__all__ = [
    "AblationConfig",
    "AblationResult",
    "ClusterSweepResult",
    "ClusteringConfig",
    "ControlsConfig",
    "ControlsResult",
    "ElasticNetProbe",
    "ElasticNetProbeRegressor",
    "EncoderConfig",
    "ExtractionConfig",
    "FinetuneConfig",
    "GeneralRedundancy",
    "HiddenStates",
    "LayerMeasures",
    "MinimalNeuronsResult",
    "NeuronExamples",
    "PipelineResult",
    "Probe",
    "ProbeConfig",
    "ProbeFamily",
    "ReducedModel",
    "Run",
    "SelectionConfig",
    "SourceConfig",
    "Store",
    "StudyConfig",
    "TaskConfig",
    "UserError",
    "ablate",
    "finetune",
    "hidden_states",
    "layer_measures",
    "load_reduced",
    "open_run",
    "redundancy",
    "study",
    "to_file",
    "to_store",
    "top_words",
]

if TYPE_CHECKING:
    from jaxred.activations.files.conversion import to_store
    from jaxred.activations.files.exporting import to_file
    from jaxred.activations.in_memory import HiddenStates
    from jaxred.activations.store import Store
    from jaxred.config import (
        AblationConfig,
        ClusteringConfig,
        ControlsConfig,
        EncoderConfig,
        ExtractionConfig,
        FinetuneConfig,
        ProbeConfig,
        SelectionConfig,
        SourceConfig,
        StudyConfig,
        TaskConfig,
    )
    from jaxred.errors import UserError
    from jaxred.probing import Probe
    from jaxred.probing.estimators import ElasticNetProbe, ElasticNetProbeRegressor, ProbeFamily
    from jaxred.reduced.model import ReducedModel, load_reduced
    from jaxred.runs.from_python import ablate, finetune, hidden_states, layer_measures, redundancy, study
    from jaxred.runs.run import Run, open_run
    from jaxred.runs.top_words import top_words
    from jaxred.studies.results import (
        AblationResult,
        ClusterSweepResult,
        ControlsResult,
        GeneralRedundancy,
        LayerMeasures,
        MinimalNeuronsResult,
        NeuronExamples,
        PipelineResult,
    )


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"jaxred has no {name!r}: it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"jaxred.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
