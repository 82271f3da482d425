"""BatchNorm's statistics computed anew: a public name, whose home is `kcnn.graph.recalibration`."""

from kcnn.graph.recalibration import recalibrate_batchnorm

__all__ = ["recalibrate_batchnorm"]
