"""RandAugment's operations against Pillow, and how they are drawn."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from kcnn.data.batches import randaugment
from kcnn.data.batches.randaugment import NAMES, operate, rand_augment

HEIGHT, WIDTH = 24, 30
MAGNITUDE = 7.0


def pictures(channels):
    """Smooth ones with some noise, of different ranges; one is of a single value."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:HEIGHT, :WIDTH]
    planes = np.stack([4 * x, 5 * y, 3 * (x + y)], -1)[..., :channels]
    made = [planes + rng.integers(0, 40, planes.shape) + 12 * i for i in range(6)]
    return np.clip(np.stack([*made, np.full_like(planes, 77)]), 0, 255).astype("uint8")


def by_pillow(image, name, sign):
    """What Pillow makes of it, black where nothing was."""
    level = MAGNITUDE / 10
    factor, away = 1 + 0.9 * level * sign, level * sign
    moves = {
        "shear_x": (1, 0.3 * away, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * away, 1, 0),
        "translate_x": (1, 0, 150 / 331 * away * WIDTH, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, 150 / 331 * away * HEIGHT),
    }
    if name in moves:
        return image.transform(image.size, Image.Transform.AFFINE, moves[name], 2)
    kinds = {"colour": "Color", "contrast": "Contrast", "brightness": "Brightness",
             "sharpness": "Sharpness"}  # fmt: skip
    if name in kinds:
        return getattr(ImageEnhance, kinds[name])(image).enhance(factor)
    return {
        "identity": lambda: image,
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "solarize": lambda: ImageOps.solarize(image, 256 * (1 - level)),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * level)),
        "rotate": lambda: image.rotate(30 * away, Image.Resampling.BILINEAR),
    }[name]()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_as_pillow_does(name, channels):
    images = np.repeat(pictures(channels), 2, axis=0)
    signs = np.tile([1, -1], len(images) // 2)
    numbers = tf.fill([len(images)], NAMES.index(name))
    found = operate(tf.constant(images, tf.float32), numbers, tf.constant(signs), MAGNITUDE)
    found = found.numpy()
    assert (found == np.round(found)).all()
    moving = name in NAMES[9:]
    for image, sign, ours in zip(images, signs, found, strict=True):
        theirs = by_pillow(Image.fromarray(image.squeeze()), name, sign)
        theirs = np.asarray(theirs, float).reshape(image.shape)
        # Where Pillow has its black border there is a reflection here.
        seen = theirs.any(axis=2) if moving else np.ones(image.shape[:2], bool)
        assert seen.mean() > 0.6
        assert np.abs(ours - theirs)[seen].max() <= 1
        if moving:
            assert image.min() <= ours.min()


def test_each_image_draws_its_own_with_repeats(monkeypatch):
    drawn = []

    def noted(images, operations, signs, magnitude):
        drawn.append((operations.numpy(), signs.numpy(), magnitude))
        return images

    monkeypatch.setattr(randaugment, "operate", noted)
    rand_augment(tf.zeros((2800, 1, 1, 1), tf.uint8), 2, 4.0, [3, 5])
    (first, signs, magnitude), (second, _, _) = drawn
    assert magnitude == 4.0
    # Of all 14 x 14 pairs, and of all operations with signs; chi-squared goes wrong once in 1000.
    assert scipy.stats.chisquare(np.bincount(14 * first + second, minlength=196)).pvalue > 1e-3
    assert scipy.stats.chisquare(np.bincount(2 * first + (signs > 0), minlength=28)).pvalue > 1e-3


def test_images_do_not_depend_on_those_beside_them():
    images, rng = pictures(3), np.random.default_rng(1)
    numbers = rng.integers(0, 14, (2, 7), np.int32)
    signs = rng.choice(np.array([-1, 1], np.int32), 7)
    together = operate(tf.constant(images, tf.float32), *map(tf.constant, (numbers[0], signs)), 9.0)
    for i in range(7):
        alone = [tf.constant(v[i : i + 1]) for v in (numbers[0], signs)]
        alone = operate(tf.constant(images[i : i + 1], tf.float32), *alone, 9.0)
        np.testing.assert_array_equal(alone[0], together[i])
