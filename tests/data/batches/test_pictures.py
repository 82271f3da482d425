"""Batches of pictures with masks: a function of (seed, step); whole ones of any size, in order."""

import numpy as np
import pytest
import tensorflow as tf
from oracles.pictures import masks_folder

from kcnn.data.batches import augmentation
from kcnn.data.batches.order import training_steps
from kcnn.data.batches.pictures import picture_batches, picture_feed, sizes_of, usual_size
from kcnn.data.batches.pipeline import feed_batches
from kcnn.data.batches.views import whole_view
from kcnn.data.sets.mask_folders import load_masks
from kcnn.data.sets.masks import IGNORED
from kcnn.errors import InputError
from kcnn.tasks.segmentation import MaskTargets


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = masks_folder(tmp_path_factory.mktemp("masks"), {"train": 11, "val": 7})
    return load_masks(root, name="x", validation=0.1, seed=0)


def feed(split, **options):
    defaults = {"window": (32, 32), "targets": MaskTargets(), "seed": 4, "augment": "crop-flip",
                "scale": 1.5, "colour": 0.2}  # fmt: skip
    return picture_feed(split, 4, **defaults | options)


def batches(split, count, **options):
    return [(x.numpy(), y.numpy()) for x, y in feed_batches(feed(split, **options), count)]


def test_a_batch_is_a_function_of_seed_and_step(data):
    whole = batches(data.train, 7)
    for (x, y), (a, b) in zip(whole[3:], batches(data.train, 4, start=3), strict=True):
        np.testing.assert_array_equal(x, a)
        np.testing.assert_array_equal(y, b)
    assert [len(x) for x, _ in whole] == [4, 4, 3, 4, 4, 3, 4]
    assert whole[0][0].dtype == whole[0][1].dtype == np.uint8
    assert whole[0][0].shape[1:] == (32, 32, 3)
    other = batches(data.train, 1, seed=5)[0]
    assert (other[1] != whole[0][1]).any()
    again = [y for _, y in whole[:3]], [y for _, y in whole[3:6]]
    assert sum(map(np.size, again[0])) == sum(map(np.size, again[1]))
    assert any((a != b).any() for a, b in zip(*again, strict=True))  # another epoch, other windows


def test_colours_change_the_picture_and_not_its_mask(data):
    plain, coloured = (batches(data.train, 2, colour=c) for c in (0.0, 0.3))
    for (x, y), (a, b) in zip(plain, coloured, strict=True):
        np.testing.assert_array_equal(y, b)
        assert (x != a).mean() > 0.3


def test_noise_hides_the_picture_and_not_its_mask(data):
    plain, hidden = (batches(data.train, 1, augment=a)[0] for a in ("crop", "crop,erasing=1"))
    np.testing.assert_array_equal(plain[1], hidden[1])
    changed = (plain[0] != hidden[0]).any(axis=3).mean(axis=(1, 2))  # of each picture's pixels
    assert ((changed > 0.01) & (changed < 0.45)).all()
    with pytest.raises(InputError, match=r"zoom=0.1 would move the pixels"):
        feed(data.train, augment="flip,zoom=0.1")


def test_none_is_the_middle(data):
    (x, y), *_ = batches(data.train, 1, augment="none", colour=0.0, window=(16, 16))
    order = next(iter(training_steps(len(data.train), 4, 4, 0, None)))["indices"].numpy()
    for index, image, mask in zip(order, x, y, strict=True):
        true = data.train.labels.numbers(int(index))
        top, left = ((side - 16) // 2 for side in true.shape)
        np.testing.assert_array_equal(mask, true[top : top + 16, left : left + 16])
        assert image.shape == (16, 16, 3)


def test_whole_pictures_in_order_padded_and_not_counted_there(data):
    split, seen = data.train, 0
    sizes = sizes_of(split)
    np.testing.assert_array_equal(sizes[:3], [(32, 48), (40, 33), (27, 61)])
    made = picture_batches(
        split, 3, view=lambda s: whole_view(s, multiple=16), sizes=sizes, targets=MaskTargets()
    )
    found = list(made)
    assert int(made.cardinality()) == len(found)
    assert max(len(x) for x, _ in found) > 1  # neighbours of one size
    for images, masks in found:
        for image, mask in zip(images.numpy(), masks.numpy(), strict=True):
            true = split.labels.numbers(seen)
            height, width = true.shape
            assert image.shape[0] % 16 == image.shape[1] % 16 == 0
            np.testing.assert_array_equal(mask[:height, :width], true)
            assert (mask[height:] == IGNORED).all()
            assert (mask[:, width:] == IGNORED).all()
            np.testing.assert_array_equal(image[height:, 0], image[height - 1 : height, 0].repeat(
                len(image) - height, axis=0))  # fmt: skip
            seen += 1
    assert seen == len(split)


def test_usual_size():
    assert usual_size(np.array([(10, 20), (30, 40), (50, 60)])) == (30, 40)
    assert usual_size(np.array([(100, 200)] * 3), 50) == (25, 50)


def test_a_batch_larger_than_the_split(data):
    with pytest.raises(InputError, match="batch_size is 40"):
        picture_feed(data.train, 40, window=(8, 8), targets=MaskTargets(), seed=0)


class TestColour:
    X = np.random.default_rng(0).integers(0, 256, (64, 6, 7, 3)).astype("uint8")

    def oracle(self, images, factors):
        x = images.astype("float64") * factors[0][:, None, None, None]
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        x = mean + (x - mean) * factors[1][:, None, None, None]
        grey = (x * [0.299, 0.587, 0.114]).sum(axis=-1, keepdims=True)
        return grey + (x - grey) * factors[2][:, None, None, None]

    def test_it_is_the_equations(self):
        seed = [3, 1]
        found = augmentation.colour(tf.constant(self.X, tf.float32), 0.4, seed).numpy()
        drawn = tf.random.stateless_uniform((3, 64, 1, 1, 1), seed, 0.6, 1.4, alg="philox")
        factors = drawn.numpy().reshape(3, 64)
        assert factors.min() < 0.65
        assert factors.max() > 1.35
        np.testing.assert_allclose(found, self.oracle(self.X, factors), rtol=1e-4, atol=1e-2)
        as_bytes = augmentation.colour(tf.constant(self.X), 0.4, seed).numpy()
        assert as_bytes.dtype == np.uint8
        np.testing.assert_allclose(as_bytes, np.rint(found.clip(0, 255)), atol=1)

    def test_one_channel_has_no_saturation(self):
        x = tf.constant(self.X[..., :1], tf.float32)
        assert augmentation.colour(x, 0.2, [0, 0]).shape == x.shape
