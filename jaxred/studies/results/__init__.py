"""What each study finds, as frozen dataclasses: a module for each study, named like it.

`to_json` gives what result files hold, `from_json` reads it, `to_frame` makes a pandas table. With repeats, a result is
that of the first one, and `repeats` has mean, standard deviation and every run of each of its numbers.
"""

from jaxred.studies.results.ablation import Ablated, AblationResult, CanGo, ProbeAt
from jaxred.studies.results.base import Neuron, Result
from jaxred.studies.results.cluster_sweep import (
    ClusterSweepRepeats,
    ClusterSweepResult,
    SweepEntry,
    SweepEntryOfRepeats,
)
from jaxred.studies.results.controls import ControlledProbe, ControlsResult, ExpectedLayer
from jaxred.studies.results.finetuning import BeforeAfter, FineTuningResult, MeasureOfBoth, SetOfBoth, SetOfOne
from jaxred.studies.results.layer_measures import AgreementOfOrders, Block, DropOrder, LayerMeasures, OfHalves
from jaxred.studies.results.minimal_neurons import MinimalClassesOfRepeats, MinimalNeuronsRepeats, MinimalNeuronsResult
from jaxred.studies.results.neuron_examples import NeuronClass, NeuronExample, NeuronExamples, NeuronProfile
from jaxred.studies.results.pipeline import (
    LayerChoice,
    LayerChoiceOfRepeats,
    NeuronChoice,
    NeuronChoiceOfRepeats,
    PipelineClassesOfRepeats,
    PipelineRepeats,
    PipelineResult,
)
from jaxred.studies.results.probe_study import (
    ConstantAnswer,
    Difference,
    EncoderSummary,
    Majority,
    MeanScores,
    MinimalSet,
    ProbeScores,
    ProbeStudy,
    Spread,
    TaskSummary,
    Training,
    TrainingOfRepeats,
)
from jaxred.studies.results.rankings import RankedAt, RankingCurve, RankingsResult
from jaxred.studies.results.redundancy import ClustersAt, GeneralRedundancy, Twin
from jaxred.studies.results.several_tasks import MeanClustersAt, PairAt, PairOfTasks, SeveralTasks, TaskRedundancy
from jaxred.studies.results.speed import SpeedResult
from jaxred.studies.results.two_models import ModelSummary, SharedAt, TwoModels

__all__ = [
    "RESULTS",
    "Ablated",
    "AblationResult",
    "AgreementOfOrders",
    "BeforeAfter",
    "Block",
    "CanGo",
    "ClusterSweepRepeats",
    "ClusterSweepResult",
    "ClustersAt",
    "ConstantAnswer",
    "ControlledProbe",
    "ControlsResult",
    "Difference",
    "DropOrder",
    "EncoderSummary",
    "ExpectedLayer",
    "FineTuningResult",
    "GeneralRedundancy",
    "LayerChoice",
    "LayerChoiceOfRepeats",
    "LayerMeasures",
    "Majority",
    "MeanClustersAt",
    "MeanScores",
    "MeasureOfBoth",
    "MinimalClassesOfRepeats",
    "MinimalNeuronsRepeats",
    "MinimalNeuronsResult",
    "MinimalSet",
    "ModelSummary",
    "Neuron",
    "NeuronChoice",
    "NeuronChoiceOfRepeats",
    "NeuronClass",
    "NeuronExample",
    "NeuronExamples",
    "NeuronProfile",
    "OfHalves",
    "PairAt",
    "PairOfTasks",
    "PipelineClassesOfRepeats",
    "PipelineRepeats",
    "PipelineResult",
    "ProbeAt",
    "ProbeScores",
    "ProbeStudy",
    "RankedAt",
    "RankingCurve",
    "RankingsResult",
    "Result",
    "SetOfBoth",
    "SetOfOne",
    "SeveralTasks",
    "SharedAt",
    "SpeedResult",
    "Spread",
    "SweepEntry",
    "SweepEntryOfRepeats",
    "TaskRedundancy",
    "TaskSummary",
    "Training",
    "TrainingOfRepeats",
    "Twin",
    "TwoModels",
]

RESULTS: dict[str, type[Result]] = {
    kind.name: kind
    for kind in (
        PipelineResult,
        ClusterSweepResult,
        MinimalNeuronsResult,
        GeneralRedundancy,
        LayerMeasures,
        FineTuningResult,
        BeforeAfter,
        SpeedResult,
        NeuronExamples,
        SeveralTasks,
        TwoModels,
        AblationResult,
        RankingsResult,
        ControlsResult,
    )
}
