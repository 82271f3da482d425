"""Shifts, permutations and corruptions, against NumPy, SciPy, Pillow and matplotlib."""

import io

import keras
import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

import kcnn
from kcnn.draw.robustness import corruption_curves, shift_curve
from kcnn.interpret import (
    accuracy_by_corruption,
    accuracy_by_shift,
    classifier,
    corrupt,
    permuted,
    shifted,
)
from kcnn.interpret.corruptions import CONSTANTS, disk_kernel

RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (3, 32, 28, 3)).astype("uint8")
LARGE = RNG.integers(0, 256, (2, 80, 96, 3)).astype("uint8")
LEVELS = [(images, scale, level) for images, scale in ((SMALL, "cifar"), (LARGE, "imagenet"))
          for level in (1, 3, 5)]  # fmt: skip


def unit(image):
    return image.astype("float64") / 255


def as_bytes(values):
    return np.rint(255 * np.clip(values, 0, 1))


def close(found, expected):
    """To a step of rounding."""
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - as_bytes(expected)).max() <= 1


@pytest.mark.parametrize(("images", "scale", "level"), LEVELS)
class TestCorruptions:
    def constant(self, scale, name, level):
        return CONSTANTS[scale][name][level - 1]

    def test_gaussian_blur(self, images, scale, level):
        sigma = self.constant(scale, "gaussian_blur", level)
        for found, image in zip(corrupt(images, "gaussian_blur", level), images, strict=True):
            expected = ndimage.gaussian_filter(unit(image), (sigma, sigma, 0), mode="nearest")
            close(found, expected)

    def test_defocus_blur(self, images, scale, level):
        radius, sigma = self.constant(scale, "defocus_blur", level)
        kernel = disk_kernel(radius, sigma)
        for found, image in zip(corrupt(images, "defocus_blur", level), images, strict=True):
            expected = ndimage.correlate(unit(image), kernel[..., None], mode="mirror")
            close(found, expected)

    def test_brightness(self, images, scale, level):
        more = self.constant(scale, "brightness", level)
        for found, image in zip(corrupt(images, "brightness", level), images, strict=True):
            hsv = rgb_to_hsv(unit(image))
            hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
            close(found, hsv_to_rgb(hsv))

    def test_contrast(self, images, scale, level):
        share = self.constant(scale, "contrast", level)
        for found, image in zip(corrupt(images, "contrast", level), images, strict=True):
            values = unit(image)
            for channel in range(3):
                mean = values[..., channel].mean()
                values[..., channel] = mean + share * (values[..., channel] - mean)
            close(found, values)

    def test_pixelate(self, images, scale, level):
        share = self.constant(scale, "pixelate", level)
        for found, image in zip(corrupt(images, "pixelate", level), images, strict=True):
            height, width = image.shape[:2]
            small = Image.fromarray(image).resize((int(width * share), int(height * share)), 4)
            np.testing.assert_array_equal(found, np.asarray(small.resize((width, height), 4)))

    def test_jpeg(self, images, scale, level):
        quality = self.constant(scale, "jpeg", level)
        for found, image in zip(corrupt(images, "jpeg", level), images, strict=True):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=quality)
            np.testing.assert_array_equal(found, np.asarray(Image.open(file)))

    def test_noise_has_the_moments_that_it_should(self, images, scale, level):
        grey = np.full((20, *images.shape[1:]), 0.4)
        value_range = {"value_range": (0.0, 1.0), "scale": scale}
        deviation = self.constant(scale, "gaussian_noise", level)
        noise = corrupt(grey, "gaussian_noise", level, **value_range)
        middle = noise[(noise > 0) & (noise < 1)]
        if deviation <= 0.18:  # hardly cut off
            assert noise.std() == pytest.approx(deviation, rel=0.04)
            assert noise.mean() == pytest.approx(0.4, abs=0.01)
        assert len(np.unique(middle)) > 0.9 * middle.size
        photons = self.constant(scale, "shot_noise", level)
        shot = corrupt(grey, "shot_noise", level, **value_range)
        np.testing.assert_allclose(shot * photons, np.rint(shot * photons), atol=1e-9)
        if photons >= 12:
            assert shot.std() == pytest.approx(np.sqrt(0.4 / photons), rel=0.05)
            assert shot.mean() == pytest.approx(0.4, abs=0.01)
        share = self.constant(scale, "impulse_noise", level)
        struck = corrupt(grey, "impulse_noise", level, **value_range)
        assert set(np.unique(struck)) == {0.0, 0.4, 1.0}
        assert (struck == 0.0).mean() == pytest.approx(share / 2, rel=0.1)
        assert (struck == 1.0).mean() == pytest.approx(share / 2, rel=0.1)


def test_the_constants_that_were_published():
    """One of each from hendrycks/robustness, at severities 1 and 5."""
    ends = {name: (row[0], row[-1]) for name, row in CONSTANTS["cifar"].items()}
    assert ends["gaussian_noise"] == (0.04, 0.10)
    assert ends["shot_noise"] == (500, 50)
    assert ends["jpeg"] == (80, 40)
    ends = {name: (row[0], row[-1]) for name, row in CONSTANTS["imagenet"].items()}
    assert ends["gaussian_noise"] == (0.08, 0.38)
    assert ends["contrast"] == (0.4, 0.05)
    assert ends["pixelate"] == (0.6, 0.25)
    assert all(len(row) == 5 for rows in CONSTANTS.values() for row in rows.values())


@pytest.mark.parametrize("radius", [0.3, 1.0, 1.5, 4.0, 10.0])
def test_a_disk(radius):
    kernel = disk_kernel(radius, 0.1)
    side = len(kernel)
    assert kernel.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1])
    inside = sum(x * x + y * y <= radius**2 for x in range(-20, 21) for y in range(-20, 21))
    assert kernel[side // 2, side // 2] == pytest.approx(1 / inside, rel=1e-3)
    reach = 8 if radius <= 8 else int(radius)
    x = np.arange(-reach, reach + 1)
    disk = (np.hypot(x[:, None], x) <= radius) / inside
    weights = np.exp(-2.0 * np.arange(-1 - (radius > 8), 2 + (radius > 8)) ** 2)  # deviation 0.5
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, weights / weights.sum(), axis, mode="mirror")
    soft = disk_kernel(radius, 0.5)
    middle = slice(reach - len(soft) // 2, reach + len(soft) // 2 + 1)
    np.testing.assert_allclose(soft, disk[middle, middle], atol=1e-12)
    assert disk.sum() == pytest.approx(disk[middle, middle].sum())


@pytest.mark.parametrize("name", CONSTANTS["cifar"])
class TestEachCorruption:
    def test_is_a_function_of_seed_severity_and_index(self, name):
        whole = corrupt(SMALL, name, 3, seed=5)
        np.testing.assert_array_equal(whole, corrupt(SMALL, name, 3, seed=5))
        np.testing.assert_array_equal(whole[1:], corrupt(SMALL[1:], name, 3, seed=5, first=1))
        if name.endswith("noise"):
            assert (whole != corrupt(SMALL, name, 3, seed=6)).any()
            assert (whole[1] != corrupt(SMALL[1:2], name, 3, seed=5)[0]).any()

    def test_grows_with_severity(self, name):
        smooth = ndimage.gaussian_filter(SMALL.astype(float), (0, 2, 2, 0))
        images = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype("uint8")
        far = [np.abs(corrupt(images, name, s).astype(float) - images).mean() for s in (1, 3, 5)]
        assert 0 < far[0] < far[1] < far[2]

    def test_grey_pictures_and_other_ranges(self, name):
        grey = SMALL[..., :1]
        found = corrupt(grey, name, 2)
        assert (found.shape, found.dtype) == (grey.shape, np.uint8)
        floats = corrupt((grey / 127.5 - 1).astype("float32"), name, 2, value_range=(-1, 1))
        assert floats.dtype == np.float32
        assert np.abs((floats + 1) * 127.5 - found).max() < 0.51


def test_what_cannot_be_corrupted():
    for arguments, message in (
        ((SMALL, "fog", 1), "A corruption is one of gaussian_noise"),
        ((SMALL, "jpeg", 6), "severity is 1 to 5; received 6"),
        ((SMALL / 255, "jpeg", 1), r"value_range=\(0, 1\)"),
        ((SMALL[..., :2], "jpeg", 1), r"\(N, H, W, 3\); received"),
    ):
        with pytest.raises(kcnn.InputError, match=message):
            corrupt(*arguments)


class TestShift:
    @pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (-2, 1), (0, -5)])
    def test_shifted(self, down, right):
        expected = ndimage.shift(SMALL, (0, down, right, 0), order=0, mode="nearest")
        np.testing.assert_array_equal(shifted(SMALL, down, right), expected)
        expected = ndimage.shift(SMALL, (0, down, right, 0), order=0, mode="constant")
        np.testing.assert_array_equal(shifted(SMALL, down, right, "black"), expected)

    def test_nothing_left(self):
        with pytest.raises(kcnn.InputError, match="leaves nothing of pictures 32×28"):
            shifted(SMALL, 0, 28)

    def test_accuracy(self):
        """Of a classifier that says in which row a dot is, modulo 3."""
        images = np.zeros((12, 12, 12, 1), "uint8")
        rows = np.arange(12)
        images[rows, rows, 6] = 255
        calls = []

        def said(pictures):
            return pictures.reshape(len(pictures), 12, -1).max(axis=2).argmax(axis=1) % 3

        found = accuracy_by_shift(
            said, images, rows % 3, 3, fill="black", progress=lambda *at: calls.append(at)
        )
        assert found.shape == (4, 4)
        assert found[0].tolist() == [1.0] * 4
        assert found[1, 2:].tolist() == [1.0, 1.0]  # to the side
        # Moved by 1 down no row fits, but that of the one dot that fell out, said to be in row 0.
        assert found[1, 0] == sum(k == 11 and k % 3 == 0 for k in rows) / 12
        assert found[3, 0] == pytest.approx((9 + 1) / 12)  # of those that fell out, row 9 is 0
        assert calls == [(k, 13) for k in range(2, 14)]
        with pytest.raises(kcnn.InputError, match="leaves nothing"):
            accuracy_by_shift(said, images, rows, 12)
        with pytest.raises(kcnn.InputError, match=r"class numbers \(12,\)"):
            accuracy_by_shift(said, images, rows[:5], 2)


def test_permuted():
    found = permuted(SMALL, seed=1)
    np.testing.assert_array_equal(found, permuted(SMALL, seed=1))
    assert (found != permuted(SMALL, seed=2)).any()
    places = permuted(np.arange(32 * 28).reshape(1, 32, 28, 1), seed=1).reshape(-1)
    assert sorted(places) == list(range(32 * 28))
    flat = SMALL.reshape(3, -1, 3)
    np.testing.assert_array_equal(found.reshape(3, -1, 3), flat[:, places])


@pytest.mark.parametrize(
    ("units", "activation"), [(3, "softmax"), (3, None), (1, "sigmoid"), (1, None)]
)
def test_any_model_classifies(units, activation, monkeypatch):
    from kcnn.interpret import robustness

    monkeypatch.setattr(robustness, "batch_size_for", lambda model: 7)
    model = keras.Sequential([
        keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(units, activation),
    ])  # fmt: skip
    images = np.random.default_rng(0).normal(size=(20, 4, 4, 1)).astype("float32")
    values = model.predict(images, verbose=0)
    expected = values.argmax(axis=1) if units > 1 else values[:, 0] > (0.5 if activation else 0.0)
    np.testing.assert_array_equal(classifier(model)(images), expected)
    assert 0 < expected.mean() < units


def test_accuracy_by_corruption():
    def said(pictures):
        return (pictures.mean(axis=(1, 2, 3)) > 150).astype(int)

    images = np.stack([np.full((8, 8, 3), value, "uint8") for value in (60, 120, 130, 200)])
    truth, calls = np.array([0, 0, 0, 1]), []
    found = accuracy_by_corruption(
        said, images, truth, ("brightness", "contrast"), progress=lambda *at: calls.append(at)
    )
    # 255 times 0.05, 0.1, 0.15, 0.2, 0.3 are 13, 26, 38, 51, 77.
    assert found["brightness"].tolist() == [1.0, 0.75, 0.5, 0.5, 0.5]
    assert found["contrast"].tolist() == [1.0] * 5
    assert calls[-1] == (10, 10)
    with pytest.raises(kcnn.InputError, match="A corruption is one of"):
        accuracy_by_corruption(said, images, truth, ("brightness", "rain"))


@pytest.mark.slow
def test_drawings():
    for png in (
        shift_curve(np.full((9, 4), 0.7), chance=0.1),
        corruption_curves({name: np.linspace(1, 0.2, 5) for name in CONSTANTS["cifar"]}, 1.0),
        corruption_curves({"jpeg": np.zeros(2)}, 1.0, (1, 5), chance=0.5),
    ):
        with Image.open(io.BytesIO(png)) as image:
            assert min(image.size) > 200
