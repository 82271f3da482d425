"""FCOS' network: the published count, geometry of its positions, and PyTorch with its weights."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.errors import InputError
from kcnn.tasks.fcos import FCOSLoss

#: A second each, and there are many: what everybody runs is to be short.
pytestmark = pytest.mark.slow

#: Narrow, on small images.
SMALL = {"input_shape": (64, 96, 3), "classes": 3, "channels": 8, "depth": 1}
SMALL |= {"backbone": "vgg11", "width": 4}


def small(**options):
    keras.utils.set_random_seed(0)
    return kcnn.build("fcos", **SMALL | options)


def images(height=64, width=96, count=2, seed=0):
    return np.random.default_rng(seed).normal(size=(count, height, width, 3)).astype("float32")


def positions(height, width, strides):
    """Rows (x, y, stride) as the paper lays them."""
    return np.array(
        [
            (s / 2 + s * column, s / 2 + s * row, s)
            for s in strides
            for row in range(height // s)
            for column in range(width // s)
        ]
    )


# --------------------------------------------------------------------------- counts


def test_the_papers_network_has_the_published_count():
    """torchvision's fcos_resnet50_fpn, of 91 classes, has 32,269,600 parameters beside BatchNorm's,
    which it freezes and does not count (53,120 in ResNet-50)."""
    card = kcnn.card(
        "fcos", backbone="resnet50", strides=(8, 16, 32, 64, 128), channels=256, depth=4, classes=91
    )
    assert card.parameters == 32_269_600 + 53_120


def test_its_card():
    card = kcnn.card("fcos")
    assert (card.input_shape, card.classes, card.task) == ((512, 512, 3), 80, "detection")
    names = [layer.name for layer in card.cost.layers]
    assert len(names) == len(set(names))


def test_levels_share_the_towers():
    """Another level adds its own 1×1 and 3×3, and nothing else."""
    two, three = (small(strides=strides) for strides in ((16, 32), (8, 16, 32)))
    seen = three.get_layer("lateral_8").input.shape[-1]
    more = three.count_params() - two.count_params()
    assert more == (seen * 8 + 8) + (9 * 8 * 8 + 8)


# --------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("strides", [(8, 16, 32), (4,), (4, 16), (16, 32, 64)])
@pytest.mark.parametrize("known", [True, False])
def test_positions_are_those_of_the_image(strides, known):
    size = (64, 128)
    shape = (*size, 3) if known else (None, None, 3)
    model = small(strides=strides, input_shape=shape)
    expected = positions(*size, strides)
    outputs = model(images(*size))
    assert outputs.shape == (2, len(expected), 11)
    assert model.output_shape == (None, len(expected) if known else None, 11)
    np.testing.assert_array_equal(outputs[0, :, 5:8], expected)
    np.testing.assert_array_equal(outputs[1, :, 5:8], expected)


def test_boxes_are_around_their_positions():
    """Where the box head says 0, each side is stride · ln 2 away."""
    model = small()
    model.get_layer("box_distances").kernel.assign(tf.zeros((3, 3, 8, 4)))
    model.get_layer("box_distances").bias.assign([0, 1, 2, 3])
    x, y, stride = positions(64, 96, (8, 16, 32)).T
    left, top, right, bottom = stride * np.log1p(np.exp(np.arange(4)))[:, None]
    expected = np.stack([x - left, y - top, x + right, y + bottom], 1)
    np.testing.assert_allclose(model(images())[0, :, :4], expected, atol=1e-3)


def test_classes_begin_at_the_prior():
    logits = small()(images())[..., 8:]
    assert 0.009 < np.mean(tf.sigmoid(logits)) < 0.011


def test_images_of_any_size_by_the_same_weights():
    fixed, free = small(), small(input_shape=(None, None, 3))
    free.set_weights(fixed.get_weights())
    np.testing.assert_allclose(free(images()), fixed(images()), atol=1e-4)
    assert free(images(32, 32)).shape == (2, 16 + 4 + 1, 11)


def test_preprocessing_comes_first():
    resize = keras.layers.Resizing(64, 96)
    model = small(input_shape=(50, 60, 3), preprocessing=[resize])
    assert model.layers[1] is resize
    assert model.output_shape == (None, 126, 11)
    with pytest.raises(InputError, match="received 65×96"):
        small(input_shape=(64, 96, 3), preprocessing=[keras.layers.Resizing(65, 96)])


# --------------------------------------------------------------------------- one flat graph


def test_the_backbones_layers_are_its_own():
    model = small(backbone="resnet18")
    narrow = {"input_shape": (64, 96, 3), "widths": (4, 8, 16, 32), "stem": "imagenet"}
    backbone = kcnn.build("resnet18", include_top=False, **narrow)
    own = {layer.name: layer for layer in model.layers}
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    for layer in backbone.layers:
        assert type(own[layer.name]) is type(layer)
        assert [w.shape for w in own[layer.name].weights] == [w.shape for w in layer.weights]


def test_layers_that_nothing_reads_are_left_out():
    names = [layer.name for layer in small(strides=(4, 8)).layers]
    assert "conv4_1" in names
    assert not any(name.startswith("conv5") for name in names)


def test_every_weight_learns():
    model = small(
        depth=2,
        strides=(16, 32, 64),
        input_shape=(64, 64, 3),
        dropout=0.1,
        backbone="resnet20",
        stem="imagenet",
    )
    truth = np.array([[[4, 4, 36, 36, 0, 0], [8, 0, 64, 60, 2, 0]]] * 2, "float32")
    with tf.GradientTape() as tape:
        loss = FCOSLoss()(truth, model(images(64, 64), training=True))
    gradients = tape.gradient(loss, model.trainable_weights)
    still = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True)
             if g is None or not np.any(g)]  # fmt: skip
    assert still == []


def test_without_normalisation():
    model = small(batchnorm=False, backbone="resnet18")
    kinds = {type(layer).__name__ for layer in model.layers}
    assert not kinds & {"BatchNormalization", "GroupNormalization"}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_in_mixed_precision(policy):
    whole = small(input_shape=(256, 256, 3))
    keras.config.set_dtype_policy(policy)
    try:
        model = small(input_shape=(256, 256, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("classes_1").compute_dtype == policy.removeprefix("mixed_")
    model.set_weights(whole.get_weights())
    x = images(256, 256, count=1)
    outputs = model(x)
    assert outputs.dtype == tf.float32
    np.testing.assert_array_equal(outputs[0, :, 5:8], positions(256, 256, (8, 16, 32)))
    np.testing.assert_allclose(outputs, whole(x), atol=0.1)


@pytest.mark.slow
def test_a_saved_file_loads_without_kcnn(tmp_path):
    model = small(input_shape=(None, None, 3), depth=2)
    x = images()
    model.save(tmp_path / "fcos.keras")
    np.savez(tmp_path / "case.npz", images=x, outputs=model(x))
    code = (
        "import sys; sys.modules['kcnn'] = None\n"
        "import keras, numpy as np\n"
        "model = keras.models.load_model('fcos.keras', safe_mode=True)\n"
        "case = np.load('case.npz')\n"
        "np.testing.assert_allclose(model(case['images']), case['outputs'], atol=1e-4)\n"
        "print(model(np.zeros((1, 32, 64, 3), 'float32')).shape)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert run.stdout.strip() == "(1, 42, 11)", run.stderr


# --------------------------------------------------------------------------- PyTorch


class Torch:
    """FPN, towers and heads in plain PyTorch, from the papers, with a Keras model's weights."""

    def __init__(self, model, depth, groups):
        import torch

        self.torch, self.depth, self.groups = torch, depth, groups
        self.weights = {
            layer.name: [torch.from_numpy(w) for w in layer.get_weights()] for layer in model.layers
        }

    def conv(self, x, name, stride=1):
        kernel, bias = self.weights[name]
        padding = kernel.shape[0] // 2
        kernel = kernel.permute(3, 2, 0, 1)
        return self.torch.nn.functional.conv2d(x, kernel, bias, stride=stride, padding=padding)

    def tower(self, x, name):
        for index in range(1, self.depth + 1):
            x = self.conv(x, f"{name}_{index}")
            norm = self.weights[f"{name}_{index}_gn"]
            x = self.torch.nn.functional.group_norm(x, self.groups, *norm, eps=1e-5).relu()
        return x

    def __call__(self, maps, strides):
        functional, rows = self.torch.nn.functional, []
        xs = [self.conv(x, f"lateral_{s}") for x, s in zip(maps, strides, strict=False)]
        for index in range(len(xs) - 2, -1, -1):
            xs[index] = xs[index] + functional.interpolate(xs[index + 1], scale_factor=2)
        xs = [self.conv(x, f"pyramid_{s}") for x, s in zip(xs, strides, strict=False)]
        for stride in strides[len(xs) :]:
            before = xs[-1] if len(xs) == len(maps) else xs[-1].relu()
            xs.append(self.conv(before, f"pyramid_{stride}", stride=2))
        for x, stride in zip(xs, strides, strict=True):
            classes, boxes = self.tower(x, "classes"), self.tower(x, "boxes")
            parts = (
                functional.softplus(self.conv(boxes, "box_distances")) * stride,
                self.conv(boxes, "centerness"),
                self.conv(classes, "class_logits"),
            )
            rows.append(self.torch.cat(parts, 1).flatten(2).permute(0, 2, 1))
        return self.torch.cat(rows, 1).numpy()


def test_as_pytorch_with_the_same_weights():
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra `oracle`)")
    strides, size = (8, 16, 32, 64, 128), (128, 256)
    options = {"channels": 16, "depth": 2, "strides": strides, "input_shape": (*size, 3)}
    model = small(**options)
    for weight in model.trainable_weights:  # none of them is zero, or one
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.05))
    x = images(*size)
    laterals = [model.get_layer(f"lateral_{stride}").input for stride in strides[:3]]
    maps = [np.array(y).transpose(0, 3, 1, 2) for y in keras.Model(model.input, laterals)(x)]
    theirs = Torch(model, depth=2, groups=2)([torch.from_numpy(y) for y in maps], strides)
    ours = np.array(model(x))
    points = positions(*size, strides)[:, :2]
    boxes = np.concatenate([points - theirs[..., :2], points + theirs[..., 2:4]], -1)
    np.testing.assert_allclose(ours[..., :4], boxes, rtol=1e-4, atol=2e-2)
    np.testing.assert_allclose(ours[..., 4], theirs[..., 4], atol=1e-3)
    np.testing.assert_allclose(ours[..., 8:], theirs[..., 5:], atol=1e-3)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (64, 90, 3)}, r"multiples of 32.*received 64×90.*64×96"),
        ({"strides": (16, 32, 64)}, r"multiples of 64.*received 64×96.*64×128"),
        ({"strides": (16, 8)}, r"strides ascend.*\(16, 8\)"),
        ({"strides": ()}, r"strides ascend"),
        ({"strides": (8, 12)}, r"strides ascend"),
        ({"strides": (8, 32, 128)}, r"has maps of strides 1, 2, 4, 8, 16, 32; received"),
        ({"strides": (8, 16, 64)}, r"has maps of strides"),
        ({"strides": (64, 128)}, r"has maps of strides"),
        ({"strides": (32, 64), "pyramid": False}, r"has maps of strides"),
        ({"backbone": "alexnet"}, r"alexnet is no backbone"),
        ({"backbone": "fcos"}, r"for classification.*'fcos'"),
        ({"backbone": "resnet19"}, r"Did you mean"),
        ({"stem": "cifar"}, r"stem='cifar'"),
        ({"backbone": "mlp"}, r"mlp is no backbone"),
        ({"strides": (0,)}, r"whole numbers from 1"),
        ({"channels": 0}, r"channels"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    options = {"width": None} | options if "backbone" in options else options
    with pytest.raises(InputError, match=message):
        small(**options)
