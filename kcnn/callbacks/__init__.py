"""Callbacks for any Keras `fit`: each is a plain `keras.callbacks.Callback`."""

from kcnn.callbacks.best import BestWeights
from kcnn.callbacks.meter import Meter
from kcnn.callbacks.progress import Progress
from kcnn.callbacks.tensorboard import TensorBoard

__all__ = ["BestWeights", "Meter", "Progress", "TensorBoard"]
