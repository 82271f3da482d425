"""Grad-CAM, saliency, occlusion: on planted patterns, against CAM by NumPy, and without weights."""

import keras
import numpy as np
import pytest
from scipy.stats import spearmanr

import kcnn
from kcnn.interpret import (
    evidence_layer,
    exciting,
    feature_maps,
    grad_cam,
    occlusion,
    saliency,
)

L = keras.layers
SIDE, PATTERN = 24, 9
METHODS = {"grad_cam": grad_cam, "saliency": saliency, "occlusion": occlusion}


def planted(count, seed, kinds=2):
    """Noise with a patch of stripes, upright (class 0) or level (1): images, classes, corners.

    A third kind has none: a network has to know both, and not one and its absence.
    """
    random = np.random.default_rng(seed)
    images = 128 + 30 * random.standard_normal((count, SIDE, SIDE, 1))
    classes = random.integers(0, kinds, count)
    corners = random.integers(0, SIDE - PATTERN + 1, (count, 2))
    stripes = np.tile(np.where(np.arange(PATTERN) % 2, 68.0, 188.0), (PATTERN, 1))
    for image, label, (row, column) in zip(images, classes, corners, strict=True):
        if label < 2:
            patch = stripes.T if label else stripes
            image[row : row + PATTERN, column : column + PATTERN, 0] = patch
    return images.astype("float32"), classes, corners


def learned(end):
    """A network that tells the stripes apart, 40 images that it has not seen, and their truth."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((SIDE, SIDE, 1)), L.Rescaling(1 / 60, -128 / 60),
        L.Conv2D(8, 3, activation="relu", padding="same"),
        L.Conv2D(16, 3, strides=2, activation="relu", padding="same"),
        L.Conv2D(16, 3, activation="relu", padding="same", name="last"),
        end, L.Dense(3, activation="softmax"),
    ])  # fmt: skip
    images, classes, _ = planted(600, seed=0, kinds=3)
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(images, classes, batch_size=50, epochs=8, verbose=0)
    images, classes, corners = planted(40, seed=1)
    assert (model(images).numpy().argmax(axis=1) == classes).all()
    return model, images, classes, corners


@pytest.fixture(scope="module")
def trained():
    """It ends in the maximum over the map: its gradient goes to the place that decided."""
    return learned(L.GlobalMaxPooling2D())


@pytest.fixture(scope="module")
def averaging():
    """It ends in the mean over the map: every place has a part in it."""
    return learned(L.GlobalAveragePooling2D())


def hits(maps, corners):
    """Share of the images whose highest value lies in the pattern."""
    peaks = np.array([np.unravel_index(each.argmax(), each.shape) for each in maps])
    inside = (peaks >= corners) & (peaks < corners + PATTERN)
    return inside.all(axis=1).mean()


@pytest.mark.parametrize(
    ("name", "network", "options"),
    [
        ("grad_cam", "trained", {}),
        ("grad_cam", "averaging", {}),
        ("saliency", "trained", {}),
        ("occlusion", "averaging", {"window": 6, "stride": 3}),
    ],
)
@pytest.mark.slow
def test_the_peak_lies_in_the_pattern_and_by_shuffled_weights_it_does_not(
    request, name, network, options
):
    model, images, classes, corners = request.getfixturevalue(network)
    found = METHODS[name](model, images, classes, **options)
    assert (found.shape, found.dtype) == ((40, SIDE, SIDE), "float32")
    share, random = hits(found, corners), np.random.default_rng(0)
    others = []
    for _ in range(4 if name == "saliency" else 2):
        shuffled = keras.models.clone_model(model)
        shuffled.set_weights(
            [random.permutation(w.ravel()).reshape(w.shape) for w in model.get_weights()]
        )
        others.append(hits(METHODS[name](shuffled, images, classes, **options), corners))
    assert share >= 0.95
    assert share - np.mean(others) >= 0.25


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.slow
def test_weights_that_are_made_random_from_the_top_destroy_it(averaging, name):
    """Adebayo et al. 2018, "Sanity Checks for Saliency Maps": the mean rank correlation.

    Away from the border, where filters see less, whatever their weights are.
    """
    model, images, classes, _ = averaging
    images, classes, inner = images[:12], classes[:12], slice(5, -5)
    before = METHODS[name](model, images, classes)[:, inner, inner]
    found = []
    for seed in range(4):
        keras.utils.set_random_seed(seed)
        after = METHODS[name](keras.models.clone_model(model), images, classes)[:, inner, inner]
        pairs = [(a.ravel(), b.ravel()) for a, b in zip(before, after, strict=True)]
        found += [spearmanr(a, b).statistic for a, b in pairs if np.ptp(a) and np.ptp(b)]
    assert len(found) >= 40
    assert abs(np.mean(found)) <= 0.15


def cam(maps, weights):
    """Zhou et al. 2016, equation 2, over the number of places, without what is below 0."""
    return np.maximum((maps * weights).sum(axis=-1), 0.0) / (maps.shape[1] * maps.shape[2])


def averaged(*end, nested=False):
    """A network that ends in global average pooling and `end`."""
    first = [L.Conv2D(6, 3, activation="tanh"), L.Conv2D(5, 3, activation="relu", name="last")]
    if nested:
        first = [keras.Sequential([keras.Input((12, 10, 3)), *first])]
    return keras.Sequential(
        [keras.Input((12, 10, 3)), L.Rescaling(1 / 255), *first, L.GlobalAveragePooling2D(), *end]
    )


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (lambda: kcnn.build("resnet20", depths=(1, 1, 1), input_shape=(12, 10, 3)), "conv4_1_relu"),
        (lambda: averaged(L.Dense(4)), "last"),
        (lambda: averaged(L.Dense(4, activation="softmax"), nested=True), "last"),
        (lambda: averaged(L.Dense(4), L.Softmax()), "last"),
        (lambda: averaged(L.Dense(1, activation="sigmoid")), "last"),
    ],
)
@pytest.mark.slow
def test_behind_global_average_pooling_it_is_cam(model, layer):
    model, images = model(), np.random.default_rng(0).uniform(0, 255, (3, 12, 10, 3))
    assert evidence_layer(model) == layer
    inner = next((x for x in model.layers if isinstance(x, keras.Sequential)), None)
    if inner is None:
        maps = keras.Model(model.inputs[0], model.get_layer(layer).output)(images).numpy()
    else:
        maps = inner(images / 255).numpy()
    dense = next(x for x in reversed(model.layers) if isinstance(x, L.Dense))
    weights, largest = dense.kernel.numpy(), 0.0
    for label in range(max(weights.shape[1], 2)):
        column = weights[:, label] if weights.shape[1] > 1 else weights[:, 0] * (2 * label - 1)
        expected = cam(maps, column)
        found = grad_cam(model, images, label, upsampled=False)
        largest = max(largest, expected.max())
        assert abs(found - expected).max() <= 1e-6 * max(expected.max(), 1.0)
    assert largest > 0
    predicted = np.asarray(model(images))
    chosen = predicted.argmax(1) if weights.shape[1] > 1 else (predicted[:, 0] > 0.5).astype(int)
    np.testing.assert_array_equal(grad_cam(model, images), grad_cam(model, images, chosen))


def test_of_a_linear_model_saliency_is_its_weights():
    model = keras.Sequential([keras.Input((4, 5, 3)), L.Flatten(), L.Dense(2)])
    images = np.random.default_rng(0).normal(size=(3, 4, 5, 3))
    kernel = model.layers[-1].kernel.numpy().reshape(4, 5, 3, 2)
    for samples in (1, 6):  # as it is, and traced
        found = saliency(model, images, [0, 1, 1], samples=samples)
        for each, label in zip(found, (0, 1, 1), strict=True):
            np.testing.assert_allclose(each, abs(kernel[..., label]).max(axis=-1), rtol=1e-5)


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize("classes", [None, 1])
def test_what_is_not_finite_is_refused(method, classes):
    model = keras.Sequential([keras.Input((6, 6, 1)), L.Conv2D(2, 3), L.Flatten(), L.Dense(2)])
    model.layers[-1].set_weights([np.full((32, 2), np.nan), np.zeros(2)])
    with pytest.raises(kcnn.InputError, match="not finite"):
        method(model, np.ones((2, 6, 6, 1)), classes)


@keras.saving.register_keras_serializable("tests")
class Passing(L.Layer):
    """Writes down how many images each pass has."""

    sizes = []  # noqa: RUF012 - of all its copies

    def call(self, x):
        self.sizes.append(x.shape[0])
        return x


def test_a_class_that_is_asked_for_costs_no_pass_of_its_own():
    """Where the graph says what outputs are, images go through the network once."""
    image, passes = keras.Input((6, 6, 1)), Passing.sizes
    x = L.Flatten()(L.Conv2D(2, 3)(Passing()(image)))
    model = keras.Model(image, L.Dense(2, activation="softmax")(x))
    images = np.ones((3, 6, 6, 1))
    grad_cam(model, images, 0)
    passes.clear()
    grad_cam(model, images, 0)
    saliency(model, images, [0, 1, 1], samples=5)
    assert passes == [3, 15]


def test_of_large_images_few_are_computed_at_once_and_say_the_same():
    """Sixty-four of VGG-19 at 224 pixels took 8 GiB; of 600×600 two are at once."""
    image, passes = keras.Input((600, 600, 1)), Passing.sizes
    x = L.Conv2D(2, 40, strides=40, name="maps")(Passing()(image))
    model = keras.Model(image, L.Dense(2)(L.Flatten()(x)))
    images = np.random.default_rng(0).normal(size=(5, 600, 600, 1)).astype("float32")
    passes.clear()
    found = grad_cam(model, images, 0)
    assert [n for n in passes if n] == [2, 2, 1]  # None: the graph is drawn
    alone = np.concatenate([grad_cam(model, images[k : k + 1], 0) for k in range(5)])
    np.testing.assert_allclose(found, alone, atol=1e-6)
    for look in (
        lambda: grad_cam(model, images),
        lambda: saliency(model, images, samples=3),
        lambda: occlusion(model, images[:1], window=200, stride=200),
        lambda: feature_maps(model, images, ["maps"], keep=1),
        lambda: exciting(model, "maps", 0, images, top=4),
    ):
        passes.clear()
        look()
        assert max(n for n in passes if n) <= 2
    np.testing.assert_array_equal(
        feature_maps(model, images, ["maps"], keep=5)[0].maps,
        keras.Model(image, x)(images).numpy(),
    )


def test_noise_smooths_by_the_range_of_each_image():
    """Of y = x², the mean gradient over noise is 2 x; the noise itself stays in the mean."""
    image = keras.Input((40, 40, 1))
    row = keras.ops.stack([keras.ops.sum(image**2, axis=(1, 2, 3)), image[:, 0, 0, 0]], axis=1)
    model = keras.Model(image, row)
    images = np.stack([np.ones((40, 40, 1)), np.ones((40, 40, 1))])
    images[0, 0, 0], images[1, 0, 0] = 2.0, 11.0  # ranges 1 and 10
    found = saliency(model, images, 0, samples=4, noise=0.2, outputs="logits")
    deviation = [np.std(each[1:]) for each in found]
    assert deviation[0] == pytest.approx(2 * 0.2 / np.sqrt(4), rel=0.1)
    assert deviation[1] == pytest.approx(2 * 2.0 / np.sqrt(4), rel=0.3)  # |·| folds some
    again = saliency(model, images, 0, samples=4, noise=0.2, outputs="logits")
    np.testing.assert_array_equal(found, again)
    assert (
        abs(
            saliency(model, images, 0, samples=4, noise=0.2, seed=1, outputs="logits") - found
        ).max()
        > 0.1
    )


def test_of_a_sum_occlusion_is_what_the_window_covers():
    image = keras.Input((9, 7, 1))
    model = keras.Model(image, L.Dense(1, kernel_initializer="ones")(L.Flatten()(image)))
    images = np.random.default_rng(0).normal(size=(2, 9, 7, 1)).astype("float32")
    found = occlusion(model, images, 1, window=3, stride=2, fill=0.5)
    tops, lefts = (0, 2, 4, 6), (0, 2, 4)
    for each, pixels in zip(found, images[..., 0], strict=True):
        falls = {(t, s): (pixels[t : t + 3, s : s + 3] - 0.5).sum() for t in tops for s in lefts}
        for row, column in [(0, 0), (2, 2), (8, 6), (4, 5)]:
            covering = [
                fall for (t, s), fall in falls.items()
                if t <= row < t + 3 and s <= column < s + 3
            ]  # fmt: skip
            assert each[row, column] == pytest.approx(np.mean(covering), rel=1e-4, abs=1e-5)
    against = occlusion(model, images, 0, window=3, stride=2, fill=0.5)
    np.testing.assert_allclose(against, -found, rtol=1e-4, atol=1e-5)
    # The last window ends with the image, also where the stride does not.
    assert np.isfinite(occlusion(model, images, 1, window=4, stride=3)).all()


class Own(keras.Model):
    """A class of its own, of which the graph cannot be seen."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, x):
        return keras.ops.softmax(self.dense(keras.ops.reshape(x, (-1, 20))))


def test_models_of_a_class_of_their_own():
    model, images = Own(), np.random.default_rng(0).normal(size=(2, 5, 4, 1)).astype("float32")
    kernel = (model(images), model.dense.kernel.numpy().reshape(5, 4, 3))[1]
    probabilities = model(images).numpy()
    found = saliency(model, images, 1, samples=1, noise=0)
    for each, p in zip(found, probabilities, strict=True):  # of log p: w₁ - Σ p w
        np.testing.assert_allclose(each, abs(kernel[..., 1] - kernel @ p), rtol=1e-3, atol=1e-6)
    assert occlusion(model, images).shape == (2, 5, 4)
    with pytest.raises(kcnn.InputError, match="class of your own"):
        grad_cam(model, images)


def test_refusals(trained):
    model, images, *_ = trained
    flat = keras.Sequential([keras.Input((SIDE, SIDE, 1)), L.Flatten(), L.Dense(2)])
    maps = keras.Sequential([keras.Input((SIDE, SIDE, 1)), L.Conv2D(2, 3)])
    for call, message in [
        (lambda: grad_cam(model, images, 3), "from 0 to 2"),
        (lambda: grad_cam(model, images, [0, 1]), "one for each of the 40"),
        (lambda: grad_cam(model, images, 0.5), "received 0.5"),
        (lambda: grad_cam(flat, images), "saliency and occlusion need none"),
        (lambda: grad_cam(model, images, layer="lost"), "no layer 'lost'"),
        (lambda: grad_cam(model, images[..., 0]), r"array \(N, H, W, C\)"),
        (lambda: saliency(maps, images), "a row for each image"),
        (lambda: saliency(model, images, samples=0), "samples is at least 1"),
        (lambda: occlusion(model, images, window=30), "window is 1 to 24"),
        (lambda: occlusion(model, images, window=4, stride=5), "stride 1 to window"),
        (lambda: occlusion(model, images, fill=(1, 2)), "fill is one value, or 1"),
        (lambda: saliency(flat, images, outputs="probabilities"), "said to be probabilities"),
    ]:
        with pytest.raises(kcnn.InputError, match=message):
            call()
