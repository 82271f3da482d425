"""Style transfer: the losses against NumPy, what comes back, what is refused.

The network is a small VGG with random weights, whose maps NumPy computes as well.
"""

import itertools

import keras
import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.errors import InputError
from kcnn.interpret import style, style_network, style_pictures, style_transfer
from kcnn.interpret.style_descent import lbfgs
from kcnn.interpret.style_gradient import with_gradient
from kcnn.interpret.style_losses import (
    Objective,
    Weights,
    content_loss,
    gram,
    style_loss,
    variation,
)

LAYERS = [*style_network.CONTENT_LAYERS, *style_network.STYLE_LAYERS]
#: At this size both pictures are as they are handed over, and there is one size only.
H, W = 32, 48


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return kcnn.build(
        "vgg19", depths=(1, 1, 1, 2, 1), widths=(12, 16, 16, 16, 16), include_top=False,
        input_shape=(None, None, 3), preprocessing="caffe",
    )  # fmt: skip


def drawn(seed, height=H, width=W):
    """A picture of smooth blobs and some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype("uint8"))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype("uint8")


CONTENT, STYLE = drawn(1), drawn(2)


def convolved(x, kernel, bias):
    """(H, W, C) with a 3×3 kernel, zeros around."""
    h, w = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return bias + sum(
        padded[i : i + h, j : j + w] @ kernel[i, j]
        for i, j in itertools.product(range(3), range(3))
    )


def numpy_maps(network, picture, pooling):
    """The maps of LAYERS by a forward pass in NumPy, (H', W', C) each."""
    x = np.asarray(picture, "float64") - (123.68, 116.779, 103.939)
    found = {}
    for stage, depth in enumerate((1, 1, 1, 2, 1), 1):
        for number in range(1, depth + 1):
            kernel, bias = network.get_layer(f"conv{stage}_{number}").get_weights()
            x = np.maximum(convolved(x, kernel.astype("float64"), bias), 0.0)
            found[f"conv{stage}_{number}_relu"] = x
        h, w = x.shape[0] // 2, x.shape[1] // 2
        blocks = x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1)
        x = blocks.max((1, 3)) if pooling == "max" else blocks.mean((1, 3))
    return [found[name] for name in LAYERS]


def oracle(network, picture, pooling):
    """Content and style losses by layer, by the paper's own equations."""
    ours, content, styles = (numpy_maps(network, p, pooling) for p in (picture, CONTENT, STYLE))
    scales = [2.0 / (c.mean() + s.mean()) for c, s in zip(content, styles, strict=True)]
    losses = []
    for index, (x, c, s, scale) in enumerate(zip(ours, content, styles, scales, strict=True)):
        n, m = x.shape[2], x.shape[0] * x.shape[1]
        f, p, a = (scale * one.reshape(m, n).T for one in (x, c, s))  # (N, M), as in the paper
        if index == 0:
            losses.append(0.5 * np.sum((f - p) ** 2) / (n * m))  # equation 1
        else:
            difference = np.einsum("ik,jk->ij", f, f) - np.einsum("ik,jk->ij", a, a)  # equation 3
            losses.append(np.sum(difference**2) / (4.0 * n**2 * m**2))  # equation 4
    return losses


def run(network, content=CONTENT, other=STYLE, steps=4, **options):
    seen = []
    found = style_transfer(
        content, other, network=network, steps=steps, progress=seen.append, **options
    )
    return found, seen


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_the_loss_of_each_layer_is_numpys(network, pooling):
    found, seen = run(network, pooling=pooling)
    assert len(seen) >= 4
    for step in (seen[0], seen[-1]):
        expected = oracle(network, step.values[0], pooling)
        np.testing.assert_allclose([*step.losses.content, *step.losses.style], expected, rtol=2e-3)
    beginning = [*found.beginning.content, *found.beginning.style]
    np.testing.assert_allclose(beginning, oracle(network, CONTENT, pooling), rtol=2e-3)
    assert found.beginning.content == (0.0,)
    assert found.losses.mean_style == pytest.approx(np.mean(found.losses.style))
    other = oracle(network, STYLE, "avg" if pooling == "max" else "max")
    assert abs(other[0] - oracle(network, STYLE, pooling)[0]) > 0.02 * other[0]


def test_the_terms_by_sums():
    rng = np.random.default_rng(0)
    f, p = rng.normal(size=(2, 1, 3, 4, 5)).astype("float32")
    expected = sum(0.5 * (f[0, i, j, k] - p[0, i, j, k]) ** 2
                   for i in range(3) for j in range(4) for k in range(5)) / 60  # fmt: skip
    assert float(content_loss(f, p)) == pytest.approx(expected, rel=1e-5)
    pairs = [
        [sum(x[0, i, j, a] * x[0, i, j, b] for i in range(3) for j in range(4)) for b in range(5)]
        for x in (f, p) for a in range(5)
    ]  # fmt: skip
    ours, theirs = np.array(pairs).reshape(2, 5, 5)
    np.testing.assert_allclose(gram(f), ours / 12, rtol=1e-4, atol=1e-6)
    assert float(style_loss(gram(f), gram(p))) == pytest.approx(
        ((ours - theirs) ** 2).sum() / (4 * 5**2 * 12**2), rel=1e-4
    )
    steps = []
    for i, j, k in itertools.product(range(2), range(3), range(5)):
        right, below = f[0, i, j + 1, k] - f[0, i, j, k], f[0, i + 1, j, k] - f[0, i, j, k]
        steps.append(np.sqrt(right**2 + below**2 + 1) - 1)
    assert float(variation(f)) == pytest.approx(np.mean(steps), rel=1e-4)
    assert float(variation(np.full((1, 4, 4, 3), 9.0, "float32"))) == 0.0


def test_the_gradient_is_that_of_finite_differences(network):
    part = style_network.looked_at(network, LAYERS, "avg")
    content, other = (p[np.newaxis].astype("float32") for p in (CONTENT, STYLE))
    objective = Objective(part, content, other, 1, Weights(1.0, 10.0, 0.1))
    evaluate = with_gradient(objective.terms)
    rng = np.random.default_rng(0)
    place, way = rng.normal(0, 20, content.shape), rng.normal(size=content.shape)
    _, _, gradient = evaluate(place)
    way = way / np.linalg.norm(way) + gradient / np.linalg.norm(gradient)
    ends = [evaluate(place + sign * way)[0] for sign in (-1, 1)]
    assert (gradient * way).sum() == pytest.approx((ends[1] - ends[0]) / 2, rel=0.02)
    total, terms, _ = evaluate(place)
    assert total == pytest.approx(terms[0] + 10 * terms[1:6].mean() + 0.1 * terms[6], rel=1e-4)


def test_the_content_as_style_gives_the_content_back(network):
    found, _ = run(network, other=CONTENT)
    np.testing.assert_array_equal(found.picture, CONTENT)
    assert found.losses.mean_style < 1e-9


@pytest.fixture
def two_sizes(monkeypatch):
    """From 16×24 up."""
    monkeypatch.setattr(style_pictures, "_COARSE", 16)


def test_no_style_weight_gives_the_content_back_through_all_sizes(network, two_sizes):
    found, seen = run(network, style_weight=0.0)
    assert {step.height for step in seen} == {16, 32}
    np.testing.assert_array_equal(found.picture, CONTENT)


@pytest.mark.slow
def test_from_noise_the_content_comes_back(network):
    """Nothing is left of the noise where a shallow layer says what every pixel is."""
    options = {"start": "noise", "style_weight": 0.0, "content_layers": ["conv1_1_relu"]}
    found, seen = run(network, steps=60, **options)
    begun = seen[0].picture().astype(int)
    assert np.abs(begun - CONTENT).mean() > 40
    assert np.abs(found.picture.astype(int) - CONTENT).mean() < 4
    again = run(network, steps=1, seed=1, **options)[1][0].picture()
    assert (again != begun).any()


@pytest.mark.slow
def test_the_style_comes_and_what_weights_count(network):
    weak, _ = run(network, steps=20, style_weight=1.0)
    strong, seen = run(network, steps=20, style_weight=1000.0)
    assert strong.losses.mean_style < 0.2 * strong.beginning.mean_style
    assert strong.losses.mean_style < weak.losses.mean_style
    assert strong.losses.mean_content > weak.losses.mean_content > 0.0
    assert all(s.values.min() > -0.01 and s.values.max() < 255.01 for s in seen)  # rounding


@pytest.mark.slow
def test_from_coarse_to_fine(network, two_sizes):
    """Of each size all steps are told; the next begins with what this one has found."""
    _, seen = run(network, steps=6)
    sides = [(s.height, s.width) for s in seen]
    fine = sides.index((H, W))
    assert sides == [(H // 2, W // 2)] * fine + [(H, W)] * (len(seen) - fine)
    assert fine >= 6
    expected = [min(n, 6) / 30 for n in range(1, fine + 1)]  # a step of four times the pixels
    np.testing.assert_allclose([s.share for s in seen[: fine + 1]], [*expected, (6 + 4) / 30])
    assert seen[-1].share == 1.0
    assert [s.seconds for s in seen] == sorted(s.seconds for s in seen)
    small, large = (
        seen[i].values - style_pictures.scaled(CONTENT, seen[i].height, seen[i].width)
        for i in (fine - 1, fine)
    )
    assert np.abs(small).mean() > 2
    means = large.reshape(H // 2, 2, W // 2, 2, 3).mean((1, 3))
    assert np.corrcoef(means.ravel(), small.ravel())[0, 1] > 0.8
    assert (seen[fine].picture().shape, seen[fine].picture().dtype) == ((H, W, 3), np.uint8)


def test_sizes_are_halved_while_their_shorter_side_has_64():
    assert style_pictures.coarse_to_fine(127, 190) == [(127, 190)]
    assert style_pictures.coarse_to_fine(255, 384) == [(64, 96), (128, 192), (255, 384)]
    assert style_pictures.coarse_to_fine(256, 384) == [(64, 96), (128, 192), (256, 384)]
    assert style_pictures.coarse_to_fine(100, 1000) == [(100, 1000)]


def test_a_descent_finds_the_minimum_within_bounds():
    rng = np.random.default_rng(0)
    goal, steep = rng.uniform(-100, 100, (4, 5)), rng.uniform(0.5, 2, (4, 5))
    low, high = np.full((4, 5), -50.0), np.full((4, 5), 60.0)
    asked = []

    def slope(x):
        asked.append(x)
        return float((steep * (x - goal) ** 2).sum()), 2 * steep * (x - goal)

    found = lbfgs(slope, np.zeros((4, 5)), low, high, 60)
    np.testing.assert_allclose(found, np.clip(goal, low, high), atol=0.01)
    assert len(asked) <= 80
    first = np.sqrt(np.mean((asked[1] - asked[0]) ** 2))
    assert 0.5 < first < 50  # pixel values, whatever the loss is measured in
    asked.clear()
    assert lbfgs(lambda x: (0.0, np.zeros_like(x)), goal, low, high, 60) is goal


def test_average_pooling_takes_the_place_of_max_pooling(network):
    before = [w.copy() for w in network.get_weights()]
    kinds = {}
    for pooling in ("max", "avg"):
        part = style_network.looked_at(network, LAYERS, pooling)
        kinds[pooling] = [type(layer).__name__ for layer in part.layers if "pool" in layer.name]
        maps = part(CONTENT[np.newaxis].astype("float32"))
        for ours, expected in zip(maps, numpy_maps(network, CONTENT, pooling), strict=True):
            np.testing.assert_allclose(ours[0], expected, rtol=1e-3, atol=0.05)
    assert kinds == {"max": ["MaxPooling2D"] * 4, "avg": ["AveragePooling2D"] * 4}
    assert [type(x).__name__ for x in network.layers if "pool" in x.name] == ["MaxPooling2D"] * 5
    for mine, theirs in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_network_of_somebody_elses(network):
    """Sequential, with a network in it, and pooling in that."""
    inner = keras.Sequential(
        [keras.Input((None, None, 8)), keras.layers.MaxPooling2D(2), keras.layers.Conv2D(8, 3)]
    )
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, activation="relu", name="early"),
            inner,
            keras.layers.Conv2D(8, 3, activation="relu", name="late"),
        ]
    )
    layers = {"content_layers": "late", "style_layers": ["early", "late"]}
    shares = []
    for pooling in ("max", "avg"):
        found, _ = run(model, steps=12, style_weight=1000.0, pooling=pooling, **layers)
        shares.append(found.losses.mean_style / found.beginning.mean_style)
    assert max(shares) < 0.5
    assert shares[0] != shares[1]
    with pytest.raises(InputError, match=r"does so nowhere up to early"):
        run(model, pooling="avg", content_layers="early", style_layers=["early"])


def test_grey_pictures_are_three_equal_channels():
    grey = CONTENT[..., 0]
    for one in (grey, grey[..., np.newaxis]):
        expected = np.stack([grey, grey, grey], axis=-1)
        np.testing.assert_array_equal(style_pictures.picture(one, "content"), expected)


def test_files_are_read_as_elsewhere(tmp_path):
    """Upright as EXIF says, grey ones in three channels, transparent parts over white."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(CONTENT).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        style_pictures.picture(tmp_path / "turned.png", "content"), np.rot90(CONTENT, -1)
    )
    Image.fromarray(CONTENT[..., 0]).save(tmp_path / "grey.png")
    grey = style_pictures.picture(str(tmp_path / "grey.png"), "content")
    np.testing.assert_array_equal(grey, np.stack([CONTENT[..., 0]] * 3, axis=-1))
    clear = np.concatenate([CONTENT, np.zeros((H, W, 1), "uint8")], axis=-1)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (style_pictures.picture(tmp_path / "clear.png", "content") == 255).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [(None, (256, 384)), (96, (64, 96)), ((50, 70), (50, 70)), (900, (600, 900))],
)
def test_sizes(size, expected):
    assert style_pictures.wanted_size(np.zeros((400, 600, 3), "uint8"), size) == expected


def test_a_small_picture_stays_as_it_is():
    assert style_pictures.wanted_size(np.zeros((40, 60, 3), "uint8"), None) == (40, 60)
    # the style has as many pixels, and its own shape
    assert style_pictures.as_large(np.zeros((300, 300, 3), "uint8"), 100, 400) == (200, 200)


def test_a_size_of_two_cuts_the_middle_out(network):
    wide = np.concatenate([np.zeros((H, 8, 3), "uint8"), CONTENT, np.zeros((H, 8, 3), "uint8")], 1)
    found, _ = run(network, wide, style_weight=0.0, size=(H, W))
    np.testing.assert_array_equal(found.picture, CONTENT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is the longer side.*received 0"),
        ({"size": (0, 5)}, r"received \(0, 5\)"),
        ({"size": 1.5}, r"received 1\.5"),
        ({"size": 8}, "the layers of vgg19 need 16 a side"),
        ({"style_weight": -1.0}, r"style_weight is a number from 0 up.*received -1\.0"),
        ({"content_weight": float("nan")}, "content_weight.*nan"),
        ({"smoothness": float("inf")}, "smoothness.*inf"),
        ({"style_weight": "1"}, "style_weight.*'1'"),
        ({"style_weight": 0, "content_weight": 0}, "both 0"),
        ({"steps": 0}, "steps is a whole number from 1 up; received 0"),
        ({"pooling": "mean"}, "pooling is 'max' or 'avg'; received 'mean'"),
        ({"start": "black"}, "start is 'content' or 'noise'"),
        ({"content_layers": "conv4_9"}, "no feature map of a layer 'conv4_9'; it has .*conv1_1"),
        ({"style_layers": []}, "style_layers are names of layers"),
        ({"style_layers": ["conv1_1_relu"] * 2}, "each once"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_is_refused(network, options, message):
    with pytest.raises(InputError, match=message):
        style.Transfer(CONTENT, STYLE, network=network, **options)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (CONTENT / 255.0, r"content is a path, or an array of uint8.*float64.*np\.rint"),
        (CONTENT[np.newaxis], "content is one picture"),
        (np.zeros((H, W, 4), "uint8"), r"picture\[\.\.\., :3\]"),
        (np.zeros((0, W, 3), "uint8"), "content is one picture"),
        (b"no path", "content is a path"),
        ("there-is-no-such.jpg", r"there-is-no-such\.jpg"),
    ],
    ids=["floats", "a batch", "alpha", "empty", "bytes", "no file"],
)
def test_what_is_no_picture(network, picture, message):
    with pytest.raises(InputError, match=message):
        style.Transfer(picture, STYLE, network=network)


def test_a_style_that_is_too_narrow(network):
    with pytest.raises(InputError, match="The style would have"):
        style.Transfer(CONTENT, np.zeros((2, 1000, 3), "uint8"), network=network)


def test_networks_that_do_not_fit():
    fixed = kcnn.build("vgg11", include_top=False, input_shape=(64, 64, 3))
    grey = kcnn.build("vgg11", include_top=False, input_shape=(None, None, 1))
    for model in (fixed, grey, "vgg19"):
        with pytest.raises(InputError, match=r"input_shape=\(None, None, 3\)"):
            style.Transfer(CONTENT, STYLE, network=model)


def test_more_memory_than_there_is_is_refused_with_a_size_that_fits(network, monkeypatch):
    sizes = [style.Transfer(CONTENT, STYLE, network=network, size=n).memory for n in (200, 400)]
    assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.05)
    monkeypatch.setattr(style, "spare", lambda: sizes[0] * 2)
    with pytest.raises(InputError, match=r"400×267 pixels take about .*B of memory") as caught:
        style.Transfer(CONTENT, STYLE, network=network, size=400)
    fits = int(str(caught.value).split("a size of ")[1].split()[0])
    assert 270 <= fits <= 290
    style.Transfer(CONTENT, STYLE, network=network, size=fits)


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is not there"):
        style.Transfer(CONTENT, STYLE, weights=tmp_path / "none.npz", preprocessing="caffe")
    with pytest.raises(InputError, match=r"weights is 'imagenet', or a file; received None"):
        style.Transfer(CONTENT, STYLE, weights=None)
    np.savez(tmp_path / "some.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="Name it: preprocessing is caffe"):
        style.Transfer(CONTENT, STYLE, weights=tmp_path / "some.npz")


def test_the_public_name_is_the_function():
    assert kcnn.interpret.style_transfer is style_transfer
    assert callable(style_transfer)


@pytest.mark.slow
def test_vgg19_paints(real_data):
    """Seen after 25 steps: 1/18 of the content's own style, with averages 1/16; asked is 1/8."""
    pictures = [real_data / "style" / name for name in ("chelsea.jpg", "starry_night.jpg")]
    weights = {"weights": real_data / "vgg19_imagenet_notop.npz", "preprocessing": "caffe"}
    for pooling in ("max", "avg"):
        found = style_transfer(*pictures, size=96, steps=25, pooling=pooling, **weights)
        assert found.losses.mean_style < found.beginning.mean_style / 8
        assert found.losses.mean_content < 3.0
    same = style_transfer(pictures[0], pictures[0], size=96, steps=3, **weights)
    np.testing.assert_array_equal(
        same.picture, style_pictures.scaled(style_pictures.picture(pictures[0], ""), 64, 96)[0]
    )
