"""Preferred pictures: what they are made of, and whether another network can name them."""

from pathlib import Path

import keras
import numpy as np
import pytest

import kcnn
from kcnn.interpret import preferred, preferred_each
from kcnn.interpret.colours import colours_of
from kcnn.interpret.preference import _scale, hartley

L = keras.layers
ROOT = Path(__file__).parents[2]


def test_hartleys_transform_is_its_own_inverse_and_transpose():
    x, y = np.random.default_rng(0).normal(size=(2, 2, 6, 9, 3))
    np.testing.assert_allclose(hartley(hartley(x)), x, atol=1e-12)
    assert (hartley(x) * y).sum() == pytest.approx((x * hartley(y)).sum())
    # One coefficient is one wave: cas(2π (ux/h + vy/w)) / √(hw).
    one = np.zeros((1, 6, 9, 1))
    one[0, 1, 2] = 1.0
    angle = 2 * np.pi * (np.arange(6)[:, None] / 6 + 2 * np.arange(9) / 9)
    wave = (np.cos(angle) + np.sin(angle)) / np.sqrt(54)
    np.testing.assert_allclose(hartley(one)[0, :, :, 0], wave, atol=1e-12)


def test_steps_go_with_one_over_f():
    scale = _scale(8, 8)[0, :, :, 0]
    assert scale[0, 2] / scale[0, 4] == pytest.approx(2.0)
    assert scale[3, 0] / scale[0, 1] == pytest.approx(1 / 3)
    assert scale[0, 0] == scale[0, 1] == scale[1, 0]
    assert np.mean(scale**2) == pytest.approx(1.0)


def test_colours_go_together_as_in_the_data():
    random = np.random.default_rng(0)
    z = random.normal(size=(200, 6, 6, 3)) @ np.array([[1, 1, 1], [0, 0.3, -0.3], [0, 0, 0.1]])
    images = (255 / (1 + np.exp(-0.5 * z - [0.0, 0.5, 1.0]))).astype("float32")
    colours = colours_of(images, (0.0, 255.0), 3)
    made = colours.pixels(random.normal(size=(200, 6, 6, 3)))
    for statistic in (np.mean, np.std):
        expected = statistic(images, axis=(0, 1, 2))
        np.testing.assert_allclose(statistic(made, axis=(0, 1, 2)), expected, rtol=0.03)
    correlations = [np.corrcoef(x.reshape(-1, 3).T) for x in (images, made)]
    np.testing.assert_allclose(*correlations, atol=0.03)
    # Its gradient is that of differences.
    at, push = random.normal(size=(2, 1, 2, 2, 3))
    slope = colours.back(colours.pixels(at), push)
    for index in np.ndindex(at.shape):
        more, less = at.copy(), at.copy()
        more[index] += 1e-5
        less[index] -= 1e-5
        difference = ((colours.pixels(more) - colours.pixels(less)) * push).sum() / 2e-5
        assert slope[index] == pytest.approx(difference, rel=1e-5, abs=1e-7)


@pytest.fixture(scope="module")
def model():
    """Unit 0 of the map likes vertical waves of period 4, unit 1 horizontal ones; 2 outputs."""
    wave = np.cos(np.pi / 2 * np.arange(4))
    kernel = np.stack([np.tile(wave, (4, 1)), np.tile(wave[:, None], (1, 4))], axis=-1)
    layer = L.Conv2D(2, 4, activation="relu", name="waves")
    model = keras.Sequential([
        keras.Input((16, 16, 1)), L.Rescaling(1 / 50, -128 / 50), layer,
        L.GlobalAveragePooling2D(), L.Dense(2, activation="softmax", name="top"),
    ])  # fmt: skip
    layer.set_weights([kernel[:, :, None], np.zeros(2)])
    model.get_layer("top").set_weights([8 * np.eye(2), np.zeros(2)])
    return model


def energy(picture):
    """Share of the variance that is in vertical, and in horizontal, waves of period about 4."""
    power = np.abs(np.fft.fft2(picture - picture.mean())) ** 2
    return power[0, 3:6].sum() / power.sum(), power[3:6, 0].sum() / power.sum()


@pytest.mark.parametrize("layer", ["waves", None])
@pytest.mark.slow
def test_units_get_their_patterns(model, layer):
    found = preferred(model, layer, [1, 0, 0], steps=60)
    assert (found.layer, found.units, found.limits) == (layer or "top", (1, 0, 0), (0.0, 255.0))
    assert found.images.shape == (3, 16, 16, 1)
    assert found.images.min() >= 0
    assert found.images.max() <= 255
    assert (found.after > 2 * found.before + 1).all()
    (v1, h1), (v0, h0), _ = (energy(picture[..., 0]) for picture in found.images)
    assert h1 > 5 * v1
    assert v0 > 5 * h0


def test_the_values_are_the_units_on_the_pictures(model):
    found = preferred(model, "waves", 1, steps=5)
    maps = keras.Model(model.inputs[0], model.get_layer("waves").output)(found.images)
    np.testing.assert_allclose(found.after, np.mean(maps[..., 1], axis=(1, 2)), rtol=1e-5)
    top = preferred(model, None, [0, 1], steps=5)
    logits = np.log(model(top.images).numpy())
    np.testing.assert_allclose(  # logits, but for what the softmax takes off both
        np.ptp(logits, axis=1),
        np.abs([top.after[i] - other for i, other in enumerate(_others(model, top.images))]),
        rtol=1e-4,
    )


def test_several_layers_in_one_pass_each_get_their_own(model):
    waves, top = preferred_each(model, [("waves", [1, 0]), (None, [0])], steps=12)
    assert (waves.layer, waves.units, top.layer, top.units) == ("waves", (1, 0), "top", (0,))
    maps = keras.Model(model.inputs[0], model.get_layer("waves").output)
    means = np.mean(maps(np.concatenate([waves.images, top.images])), axis=(1, 2))
    np.testing.assert_allclose(waves.after, [means[0, 1], means[1, 0]], rtol=1e-5)
    np.testing.assert_allclose(top.after, [8 * means[2, 0]], rtol=1e-5)
    for found in (waves, top):
        assert (found.after > 1.5 * found.before).all()


def _others(model, pictures):
    """The logit of the class that the picture was not made for."""
    maps = keras.Model(model.inputs[0], model.layers[-2].output)(pictures).numpy()
    logits = 8 * maps
    return [logits[0, 1], logits[1, 0]]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_and_no_steps_the_noise(model):
    first, again, other = (preferred(model, "waves", 0, steps=3, seed=s).images for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 1
    noise = preferred(model, "waves", 0, steps=0, seed=1)
    np.testing.assert_array_equal(noise.before, noise.after)


def test_more_total_variation_gives_smoother_pictures(model):
    def roughness(weight):
        picture = preferred(model, "waves", 0, steps=40, variation=weight).images[0, ..., 0]
        return abs(np.diff(picture, axis=0)).mean() + abs(np.diff(picture, axis=1)).mean()

    assert roughness(10.0) < 0.5 * roughness(0.0)


def test_limits_are_those_of_the_images(model):
    bare = keras.Sequential([keras.Input((16, 16, 1)), *model.layers[1:]])
    images = np.random.default_rng(0).normal(size=(20, 16, 16, 1)).astype("float32")
    found = preferred(bare, "waves", 0, images=images, steps=3)
    assert found.limits == pytest.approx((images.min(), images.max()))
    assert preferred(bare, "waves", 0, limits=(-1, 1), steps=1).limits == (-1.0, 1.0)
    of_bytes = (images * 20 + 100).clip(0, 255).astype("uint8")
    assert preferred(model, "waves", 0, images=of_bytes, steps=1).limits == (0.0, 255.0)


def test_refusals(model):
    bare = keras.Sequential([keras.Input((16, 16, 1)), *model.layers[1:]])
    unknown = keras.Sequential([keras.Input((None, None, 1)), L.Conv2D(2, 3, name="c")])
    images = np.full((4, 16, 16, 1), 300.0)
    for call, message in [
        (lambda: preferred(bare, "waves", 0), "does not begin by normalising bytes"),
        (lambda: preferred(unknown, "c", 0, limits=(0, 1)), "any size"),
        (lambda: preferred(model, "waves", 2), "units 0 to 1; received 2"),
        (lambda: preferred(model, "waves", []), "received none"),
        (lambda: preferred(model, "wave", 0), "no layer 'wave'"),
        (lambda: preferred(model, "waves", 0, images=images, limits=(0, 255)), "outside of limits"),
        (lambda: preferred(model, "waves", 0, images=images[:1]), "Two training images"),
        (lambda: preferred(model, "waves", 0, limits=(1, 0)), "smaller and a larger"),
        (lambda: preferred(model, "waves", 0, steps=-1), "received -1"),
        (lambda: preferred(model, "waves", 0, jitter=16), "16 pixels; received 16"),
    ]:
        with pytest.raises(kcnn.InputError, match=message):
            call()


@pytest.mark.slow
def test_another_network_names_what_this_one_prefers(real_data, monkeypatch):
    """ResNet-20's ten classes, blurred with sigma 1, by ResNet-32; as the benchmark does."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.preferred import judged, published

    network, judge = (published(name, real_data) for name in ("resnet20", "resnet32"))
    images = np.load(real_data / "cifar10_subset.npz")["x_train"]
    row = judged(network, judge, images, seed=0)
    assert row["right, blurred"] >= 7
    assert row["right"] >= 9
    assert row["noise right"] <= 4
