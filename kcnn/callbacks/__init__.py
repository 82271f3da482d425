"""Callbacks for any Keras `fit`: each is a plain `keras.callbacks.Callback`."""

from kcnn.callbacks.averaging.ema import EvaluateEMA
from kcnn.callbacks.averaging.swa import StochasticWeightAveraging
from kcnn.callbacks.checkpoint.best import BestWeights
from kcnn.callbacks.checkpoint.exact import ExactCheckpoint
from kcnn.callbacks.records.guards import Tolerant
from kcnn.callbacks.records.health import Health
from kcnn.callbacks.records.images import TensorBoardImages
from kcnn.callbacks.records.meter import Meter
from kcnn.callbacks.records.metrics_table import MetricsTable
from kcnn.callbacks.records.progress import Progress
from kcnn.callbacks.records.tensorboard import TensorBoard

__all__ = [
    "BestWeights",
    "EvaluateEMA",
    "ExactCheckpoint",
    "Health",
    "Meter",
    "MetricsTable",
    "Progress",
    "StochasticWeightAveraging",
    "TensorBoard",
    "TensorBoardImages",
    "Tolerant",
]
