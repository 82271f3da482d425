"""Optimisers against Keras' own, PyTorch's and the textbook; numbers that a trace leaves open."""

import math
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn import train
from kcnn.errors import InputError
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.recipes.recipe import Recipe
from kcnn.training.loop import optimizers

STEPS = 10  # an epoch
NAMES = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion")
SHAPES = ((3, 4), (4,), (2, 2, 3, 5))


def resolved(name, **fields):
    fields = {"learning_rate": 0.1, "schedule": "constant", "warmup": 0.0, "epochs": 1} | fields
    recipe = Recipe(optimizer=name, **fields)
    return resolve(recipe, family=OTHERS, images=64, image_shape=(8, 8, 1))


def made(recipe, held, wrap=lambda optimizer: optimizer):
    """The update of `held` by the recipe's optimiser."""
    model = SimpleNamespace(optimizer=wrap(optimizers.optimizer(recipe)), trainable_variables=held)
    return optimizers.Update(model, recipe, STEPS)


def variables():
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.uniform(0.5, 1.0, shape).astype("float32")) for shape in SHAPES]


def gradients(steps):
    rng = np.random.default_rng(1)
    return [[rng.normal(size=shape).astype("float32") for shape in SHAPES] for _ in range(steps)]


def trajectory(name, steps=6, **fields):
    """The variables after `steps` steps of ours."""
    held = variables()
    update = made(resolved(name, **fields), held)
    for step in gradients(steps):
        with update.in_place():
            update.optimizer.apply([tf.constant(g) for g in step], held)
    return [v.numpy() for v in held]


def keras_own(name, rate, decay, momentum=0.9):
    """Keras' optimiser with its own decoupled weight decay, which spares vectors here."""
    options = {"weight_decay": decay or None}
    made = {
        "sgd": lambda: keras.optimizers.SGD(rate, **options),
        "momentum": lambda: keras.optimizers.SGD(rate, momentum=momentum, **options),
        "nesterov": lambda: keras.optimizers.SGD(rate, momentum=momentum, nesterov=True, **options),
        "rmsprop": lambda: keras.optimizers.RMSprop(rate, momentum=0.0, **options),
        "adam": lambda: keras.optimizers.Adam(rate, **options),
        "adamw": lambda: keras.optimizers.Adam(rate, **options),
        "lion": lambda: keras.optimizers.Lion(rate, **options),
    }[name]()
    return made


def close(ours, theirs):
    """To rounding: Adam divides gradients near zero by their own size."""
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


class TestAgainstKeras:
    @pytest.mark.parametrize("name", NAMES)
    def test_without_decay(self, name):
        theirs, held = keras_own(name, 0.1, 0.0), variables()
        for step in gradients(6):
            theirs.apply([tf.constant(g) for g in step], held)
        close(trajectory(name, weight_decay=0.0), [v.numpy() for v in held])

    @pytest.mark.parametrize("name", NAMES)
    def test_with_decay_of_all_but_vectors(self, name):
        theirs = keras_own(name, 0.1, 0.2)
        held = variables()
        theirs.build(held)
        theirs.exclude_from_weight_decay(var_list=[held[1]])
        for step in gradients(6):
            theirs.apply([tf.constant(g) for g in step], held)
        close(trajectory(name, weight_decay=0.2), [v.numpy() for v in held])

    @pytest.mark.parametrize("name", ["momentum", "adamw"])
    def test_with_a_schedule(self, name):
        """The rate of a step is that of the steps before it."""
        recipe = {"schedule": "cosine", "warmup": 0.5, "weight_decay": 0.0}
        update = made(resolved(name, **recipe), variables())
        rates = [update.rate(step) for step in range(6)]
        theirs, held = keras_own(name, rates[0], 0.0), variables()
        for rate, step in zip(rates, gradients(6), strict=True):
            theirs.learning_rate = rate
            theirs.apply([tf.constant(g) for g in step], held)
        assert len(set(rates)) > 4
        close(trajectory(name, **recipe), [v.numpy() for v in held])


class TestClipping:
    """By the norm over all that a step trains; the oracle of the norm is NumPy."""

    @staticmethod
    def clipped(step, norm):
        length = math.sqrt(sum(float(np.square(g.astype("float64")).sum()) for g in step))
        return [g * min(1.0, norm / length) for g in step], length

    @pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adamw"])
    def test_longer_gradients_are_scaled_and_shorter_ones_stay(self, name):
        """Decay is not clipped: it is behind."""
        theirs, held = keras_own(name, 0.1, 0.2), variables()
        theirs.build(held)
        theirs.exclude_from_weight_decay(var_list=[held[1]])
        norm = float(np.median([self.clipped(step, 1.0)[1] for step in gradients(6)]))
        for step in gradients(6):
            theirs.apply([tf.constant(g) for g in self.clipped(step, norm)[0]], held)
        ours = trajectory(name, weight_decay=0.2, clip_norm=norm)
        close(ours, [v.numpy() for v in held])
        if name != "adamw":  # whose steps hardly heed the size of gradients
            assert np.abs(ours[0] - trajectory(name, weight_decay=0.2)[0]).max() > 1e-3

    def test_frozen_variables_do_not_count(self):
        held = variables()
        update = made(resolved("sgd", clip_norm=0.5), held)
        gradient = gradients(1)[0][0]
        before = held[0].numpy()
        with update.in_place():
            update.optimizer.apply([tf.constant(gradient)], held[:1])
        (expected,), length = self.clipped([gradient], 0.5)
        assert length > 1
        np.testing.assert_allclose(before - held[0].numpy(), 0.1 * expected, rtol=1e-4)

    @pytest.mark.slow
    def test_a_rate_of_the_backbone_is_behind_it(self, tmp_path):
        """One step of plain SGD: all changes are those without clipping, times one number."""
        changes = [self.changes(tmp_path, norm) for norm in (None, 0.05)]
        own = [g / (1.0 if "head" in path else 0.25) for path, g in changes[0].items()]
        length = math.sqrt(sum(float(np.square(g).sum()) for g in own)) / 0.1
        assert length > 0.05
        for path, change in changes[1].items():
            expected = changes[0][path] * 0.05 / length
            np.testing.assert_allclose(change, expected, atol=1e-6, err_msg=path)

    @staticmethod
    def changes(tmp_path, norm):
        keras.utils.clear_session()  # the same names
        keras.utils.set_random_seed(0)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((6, 6, 1)),
                layers.Rescaling(1 / 255),
                layers.Conv2D(2, 3, name="body"),
                layers.Flatten(),
                layers.Dense(3, "softmax", name="head"),
            ]
        )
        before = {v.path: v.numpy() for v in model.trainable_variables}
        recipe = Recipe(
            epochs=1, batch_size=12, optimizer="sgd", learning_rate=0.1, schedule="constant",
            warmup=0.0, weight_decay=0.0, backbone_rate=0.25, clip_norm=norm, select="last",
            logs=str(tmp_path),
        )  # fmt: skip
        images = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 1)).astype("uint8")
        data = images, np.arange(16) % 3
        train(recipe, model=model, data={"train": data, "validation": data}, verbose=False)
        return {v.path: before[v.path] - v.numpy() for v in model.trainable_variables}


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adamw"])
def test_against_pytorch(name, decay):
    torch = pytest.importorskip("torch")
    held = [torch.tensor(v.numpy(), requires_grad=True) for v in variables()]
    momentum = {"momentum": 0.9, "nesterov": 0.9}.get(name, 0.0)
    if name == "adamw":
        optimizer = torch.optim.AdamW(
            [
                {"params": [held[0], held[2]], "weight_decay": decay},
                {"params": [held[1]], "weight_decay": 0.0},
            ],
            lr=0.1, eps=1e-7,
        )  # fmt: skip
    else:
        optimizer = torch.optim.SGD(held, 0.1, momentum, nesterov=name == "nesterov")
    for step in gradients(6):
        for tensor, gradient in zip(held, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        if name != "adamw":  # PyTorch's SGD has no decoupled decay
            with torch.no_grad():
                for tensor in (held[0], held[2]):
                    tensor.mul_(1 - 0.1 * decay)
        optimizer.step()
    theirs = [tensor.detach().numpy() for tensor in held]
    for a, b in zip(trajectory(name, weight_decay=decay), theirs, strict=True):
        # Kingma & Ba add epsilon before the bias correction of section 2's end, PyTorch after it.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


def mean_change(name, steps, **fields):
    held = variables()
    update, start = made(resolved(name, weight_decay=0.0, **fields), held), held[0].numpy()
    for gradient in steps:
        with update.in_place():
            update.optimizer.apply([tf.fill(shape, gradient) for shape in SHAPES], held)
    return float((held[0].numpy() - start).mean())


def test_updates_by_the_textbook():
    """Two steps with gradients 1 and 3 at rate 0.1, by hand."""
    assert mean_change("sgd", [1.0, 3.0]) == pytest.approx(-0.1 - 0.3, rel=1e-5)
    # v1 = -0.1, v2 = 0.9 v1 - 0.3
    assert mean_change("momentum", [1.0, 3.0]) == pytest.approx(-0.1 - 0.39, rel=1e-5)
    # Nesterov: w += m v - r g
    assert mean_change("nesterov", [1.0, 3.0]) == pytest.approx(
        (0.9 * -0.1 - 0.1) + (0.9 * -0.39 - 0.3), rel=1e-5
    )
    half = mean_change("momentum", [1.0, 3.0], momentum=0.5)
    assert half == pytest.approx(-0.1 - 0.35, rel=1e-5)
    # Adam's first step is the rate, whatever the gradient's size.
    assert mean_change("adam", [7.0]) == pytest.approx(-0.1, rel=1e-4)
    assert mean_change("adamw", [0.01]) == pytest.approx(-0.1, rel=1e-3)
    # Lion: the sign of 0.9 m + 0.1 g, with m = 0.01 behind the first step.
    assert mean_change("lion", [1.0, -0.05]) == pytest.approx(-0.2, rel=1e-5)
    assert mean_change("lion", [1.0, -0.15]) == pytest.approx(0.0, abs=1e-6)
    # RMSprop: g / sqrt((1 - rho) g²) with rho = 0.9
    assert mean_change("rmsprop", [5.0]) == pytest.approx(-0.1 / math.sqrt(0.1), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_is_decoupled_and_spares_vectors(name):
    """With zero gradients a kernel shrinks by rate x decay, a vector not at all."""
    held = variables()
    update, before = made(resolved(name, weight_decay=0.2), held), [v.numpy() for v in held]
    with update.in_place():
        update.optimizer.apply([tf.zeros(shape) for shape in SHAPES], held)
    for variable, old in zip(held, before, strict=True):
        shrink = 0.1 * 0.2 if old.ndim > 1 else 0.0
        np.testing.assert_allclose(variable.numpy(), old * (1 - shrink), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_its_variables_are_its_own(name):
    """Neither a weight nor a slot twice: what resets the optimiser resets nothing else."""
    held = variables()
    optimizer = made(resolved(name), held).optimizer
    slots = {"sgd": 0, "adam": 2, "adamw": 2}.get(name, 1)
    expected = sorted([(), (), *(SHAPES * slots)])
    assert sorted(tuple(v.shape) for v in optimizer.variables) == expected
    assert not {id(v) for v in optimizer.variables} & {id(v) for v in held}


@pytest.mark.parametrize(
    ("name", "fields"),
    [*((name, fields) for name in NAMES for fields in ({}, {"ema": 0.9})),
     ("momentum", {"momentum": 0.5}), ("rmsprop", {"momentum": 0.5})],
)  # fmt: skip
def test_the_recipe_knows_how_many_values_a_weight_has(name, fields):
    """Estimates of memory count what the optimiser really makes."""
    recipe = resolved(name, **fields)
    optimizer = made(recipe, variables()).optimizer
    assert sum(len(v.shape) > 0 for v in optimizer.variables) == recipe.slots * len(SHAPES)


class TestNumbersChange:
    @pytest.mark.parametrize("schedule", ["constant", "cosine"])
    @pytest.mark.parametrize("name", NAMES)
    def test_inside_a_trace(self, name, schedule):
        """A traced step with new rate, momentum and decay does what a new optimiser does."""
        first = resolved(name, schedule=schedule, weight_decay=0.1)
        momentum = {"momentum": 0.5, "nesterov": 0.5}.get(name)
        other = resolved(
            name, schedule=schedule, weight_decay=0.4, learning_rate=0.03, epochs=3,
            momentum=momentum,
        )  # fmt: skip
        assert optimizers.traits(first) == optimizers.traits(other)
        held, traces = variables(), []
        update = made(first, held)
        optimizer = update.optimizer

        @tf.function
        def step(*gradients):
            traces.append(len(gradients))
            with update.in_place():
                optimizer.apply(list(gradients), held)

        step(*map(tf.constant, gradients(1)[0]))
        update.set(other, STEPS)
        for variable in optimizer.variables:
            if len(variable.shape):
                variable.assign(np.zeros(variable.shape))
        optimizer.iterations.assign(0)
        for variable, start in zip(held, variables(), strict=True):
            variable.assign(start.value)
        for gradient in gradients(6):
            step(*map(tf.constant, gradient))
        assert len(traces) == 1
        fresh = variables()
        again = made(other, fresh)
        for gradient in gradients(6):
            with again.in_place():
                again.optimizer.apply(list(map(tf.constant, gradient)), fresh)
        close([v.numpy() for v in held], [v.numpy() for v in fresh])
        told, own = optimizer.get_config(), again.optimizer.get_config()
        apart = {"name": "", "learning_rate": optimizer.learning_rate.numpy()}  # of the next step
        assert told | apart == own | apart  # the config tells the truth, too

    def test_what_a_trace_fixes_differs(self):
        """Another kind of optimiser, schedule, momentum at all, or decay at all."""
        recipes = [
            resolved("sgd"),
            resolved("momentum"),
            resolved("nesterov"),
            resolved("adam"),
            resolved("rmsprop"),
            resolved("lion"),
            resolved("rmsprop", momentum=0.5),
            resolved("momentum", schedule="cosine"),
            resolved("momentum", schedule="step"),
            resolved("momentum", warmup=1.0),
            resolved("momentum", weight_decay=0.1),
            resolved("momentum", clip_norm=1.0),
            resolved("momentum", clip_norm=2.0),
        ]
        zero = [r for r in recipes if r.weight_decay == 0]
        found = [optimizers.traits(recipe) for recipe in recipes]
        assert len(zero) >= 2
        assert len(set(found)) == len(found)


def one_dense():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for weight in model.trainable_weights:
        weight.assign(keras.random.uniform(weight.shape, 0.5, 1.0, seed=1))
    return model


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "rmsprop"])
def test_loss_scaling(name):
    """Under float16's loss scaling a finite gradient acts, and an infinite one changes nothing."""
    model = one_dense()
    scaled = []

    def wrap(inner):
        scaled.append(keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0))
        return scaled[0]

    update = made(resolved(name, weight_decay=0.1), model.trainable_variables, wrap)

    @tf.function
    def step(value):
        grads = [tf.fill(v.shape, value) for v in model.trainable_variables]
        with update.in_place():
            scaled[0].apply(grads, model.trainable_variables)

    before = [w.numpy() for w in model.trainable_weights]
    step(tf.constant(math.inf))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    step(tf.constant(8.0))
    assert all(
        (weight.numpy() < old).all()
        for weight, old in zip(model.trainable_weights, before, strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_optimiser_is_keras_own(name):
    """In its class and its methods, before and after steps of ours; the update was ours."""
    held = variables()
    update = made(resolved(name, schedule="cosine"), held)
    optimizer, own = update.optimizer, keras_own(name, 0.1, 0.0)
    with update.in_place():
        optimizer.apply([tf.zeros(shape) for shape in SHAPES], held)
        assert optimizer.update_step == update._step
    assert type(optimizer) in (type(own), keras.optimizers.AdamW)
    for method in ("apply", "update_step"):
        assert method not in vars(optimizer)
    copy = keras.optimizers.get(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()


@pytest.mark.slow
def test_a_trained_model_is_loaded_without_kcnn(tmp_path):
    """Optimiser and schedule, too, in a process that has never heard of kcnn."""
    recipe = Recipe(epochs=1, logs=str(tmp_path), model="mlp", options={"width": 8}, dropout=0.1)
    run = train(recipe, verbose=False)
    assert run.recipe.schedule == "cosine"
    run.model.save(tmp_path / "trained.keras")
    code = (
        "import sys, keras; model = keras.models.load_model(sys.argv[1]); "
        "print(type(model.optimizer).__module__, model.loss, 'kcnn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "trained.keras")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[0].startswith("keras.")
    assert done.stdout.split()[-1] == "False"


class TestASchedulesRate:
    """It is the loop's: `optimizer.learning_rate` shows it, and nobody else sets it."""

    class Sets(keras.callbacks.Callback):
        def __init__(self, hook):
            super().__init__()
            self.seen = []
            setattr(self, hook, self._act)

        def _act(self, *args, **kwargs):
            self.seen.append(float(self.model.optimizer.learning_rate))
            self.model.optimizer.learning_rate = 0.5

    FIELDS = dict(model="mlp", options={"width": 8}, epochs=3, learning_rate=0.25)  # noqa: RUF012

    @pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_begin"])
    def test_another_rate_is_refused(self, hook, tmp_path):
        recipe = Recipe(logs=str(tmp_path), schedule="cosine", warmup=0.0, **self.FIELDS)
        sets = self.Sets(hook)
        with pytest.raises(InputError, match=r"learning rate to 0\.5; the recipe's schedule"):
            train(recipe, callbacks=[sets], verbose=False)
        if hook == "on_epoch_end":  # a third of half a period
            rate = 0.25 * 0.5 * (1 + math.cos(math.pi / 3))
            assert sets.seen == [pytest.approx(rate, rel=1e-5)]

    def test_a_constant_one_may_be_set(self, tmp_path):
        recipe = Recipe(logs=str(tmp_path), schedule="constant", warmup=0.0, **self.FIELDS)
        sets = self.Sets("on_epoch_end")
        run = train(recipe, callbacks=[sets], verbose=False)
        assert sets.seen == [0.25, 0.5, 0.5]
        assert run.history["learning_rate"] == [0.25, 0.5, 0.5]
