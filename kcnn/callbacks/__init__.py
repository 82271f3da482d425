"""Callbacks for any Keras `fit`: each is a plain `keras.callbacks.Callback`."""

from kcnn.callbacks.best import BestWeights
from kcnn.callbacks.checkpoint import ExactCheckpoint
from kcnn.callbacks.ema import EvaluateEMA
from kcnn.callbacks.guards import Tolerant
from kcnn.callbacks.meter import Meter
from kcnn.callbacks.metrics_table import MetricsTable
from kcnn.callbacks.progress import Progress
from kcnn.callbacks.swa import StochasticWeightAveraging
from kcnn.callbacks.tensorboard import TensorBoard

__all__ = [
    "BestWeights",
    "EvaluateEMA",
    "ExactCheckpoint",
    "Meter",
    "MetricsTable",
    "Progress",
    "StochasticWeightAveraging",
    "TensorBoard",
    "Tolerant",
]
