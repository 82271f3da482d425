"""Data: three splits by name, path or from arrays, and the batches made of them.

Names load on first use, and TensorFlow only when batches are made.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors see
    from kcnn.data.batches.feed import Feed as Feed
    from kcnn.data.batches.feed import fill_cache as fill_cache
    from kcnn.data.batches.feed import training_feed as training_feed
    from kcnn.data.batches.pipeline import evaluation_batches as evaluation_batches
    from kcnn.data.batches.pipeline import feed_batches as feed_batches
    from kcnn.data.batches.pipeline import statistics as statistics
    from kcnn.data.batches.pipeline import steps_per_epoch as steps_per_epoch
    from kcnn.data.batches.pipeline import training_batches as training_batches
    from kcnn.data.batches.targets import ClassTargets as ClassTargets
    from kcnn.data.sets.images import ImageFiles as ImageFiles
    from kcnn.data.sets.images import load_image as load_image
    from kcnn.data.sets.preflight import preflight as preflight
    from kcnn.data.sets.sources import load_data as load_data
    from kcnn.data.sets.splits import Data as Data
    from kcnn.data.sets.splits import Split as Split
    from kcnn.data.sets.splits import from_arrays as from_arrays

from kcnn.startup import on_first_use

#: name: the module that defines it
_HOME = {
    "load_data": "kcnn.data.sets.sources",
    "from_arrays": "kcnn.data.sets.splits",
    "Data": "kcnn.data.sets.splits",
    "Split": "kcnn.data.sets.splits",
    "ImageFiles": "kcnn.data.sets.images",
    "load_image": "kcnn.data.sets.images",
    "preflight": "kcnn.data.sets.preflight",
    "statistics": "kcnn.data.batches.pipeline",
    "steps_per_epoch": "kcnn.data.batches.pipeline",
    "training_batches": "kcnn.data.batches.pipeline",
    "training_feed": "kcnn.data.batches.feed",
    "Feed": "kcnn.data.batches.feed",
    "ClassTargets": "kcnn.data.batches.targets",
    "fill_cache": "kcnn.data.batches.feed",
    "evaluation_batches": "kcnn.data.batches.pipeline",
    "feed_batches": "kcnn.data.batches.pipeline",
}

__all__ = list(_HOME)

if not TYPE_CHECKING:  # which would take any name
    __getattr__, __dir__ = on_first_use(__name__, _HOME)
