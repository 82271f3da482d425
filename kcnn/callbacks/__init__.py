"""Callbacks for any Keras `fit`: each is a plain `keras.callbacks.Callback`."""

from kcnn import startup

startup.load()

from kcnn.callbacks.best import BestWeights  # noqa: E402 - Keras loads silently first
from kcnn.callbacks.meter import Meter  # noqa: E402
from kcnn.callbacks.progress import Progress  # noqa: E402
from kcnn.callbacks.tensorboard import TensorBoard  # noqa: E402

__all__ = ["BestWeights", "Meter", "Progress", "TensorBoard"]
