"""Options and constants of papers by what they do, counted or computed outside of kcnn."""

import math
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import kcnn
from kcnn.callbacks import BestWeights
from kcnn.callbacks.checkpoint import best, period
from kcnn.data import training_feed
from kcnn.data.batches import augmentation, bending, randaugment
from kcnn.data.batches.augmentation import mixup_or_cutmix
from kcnn.data.sets.splits import Split
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.task import find
from kcnn.training.loop.schedules import learning_rate

LABELS = np.arange(48) % 3
PIXELS = np.random.default_rng(0).integers(0, 200, (48, 6, 6, 1)) + 25 * LABELS[:, None, None, None]
DATA = (PIXELS.astype("uint8"), LABELS)
STEPS = 10


def resolved(**fields):
    recipe = kcnn.Recipe(**{"epochs": 8, "learning_rate": 0.5} | fields)
    return resolve(recipe, family=OTHERS, images=320, image_shape=(8, 8, 1))


def trained(tmp_path, callbacks=(), **fields):
    base = {
        "model": "mlp",
        "options": {"width": 8},
        "epochs": 6,
        "batch_size": 16,
        "select": "last",
    }
    return kcnn.train(
        kcnn.Recipe(logs=str(tmp_path), **base | fields), data=DATA, callbacks=callbacks,
        verbose=False,
    )  # fmt: skip


class Weights(keras.callbacks.Callback):
    """Those at the end of each epoch, and how the model is compiled."""

    def __init__(self):
        super().__init__()
        self.seen, self.jit = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())
        self.jit.append(self.model.jit_compile)


@pytest.mark.parametrize(("columns", "share"), [(4, 0.1), (1, 0.2)])
def test_label_smoothing_spreads_over_all_classes(columns, share):
    """Szegedy et al. 2016, section 7: (1 - e) y + e / K; of two classes K is 2."""
    rows = np.eye(4, dtype="float32")[:, :columns]
    batch = find("classification").batch(lambda e, r: (e, tf.constant(rows)),
                                         kcnn.Recipe(label_smoothing=share))  # fmt: skip
    _, smoothed = batch(None, ())
    np.testing.assert_allclose(smoothed, rows * (1 - share) + share / max(columns, 2), atol=1e-6)


def test_top5_is_counted_from_a_hundred_classes_on():
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(64, 100)).astype("float32")
    labels = rng.integers(0, 100, 64)
    model = keras.Sequential([keras.Input((100,)), keras.layers.Activation("linear")])
    find("classification").knowing("logits").compile(model, keras.optimizers.SGD())
    found = model.evaluate(outputs, np.eye(100)[labels], verbose=0, return_dict=True)
    ranks = (outputs > outputs[range(64), labels][:, None]).sum(axis=1)
    assert found["top5_accuracy"] == pytest.approx((ranks < 5).mean())
    assert 0 < (ranks < 5).mean() < 1
    assert found["accuracy"] == pytest.approx((ranks < 1).mean())


@pytest.mark.parametrize(("warmup", "steps"), [(0.37, 4), (0.33, 3), (1.26, 13)])
def test_parts_of_epochs_of_a_warm_up_are_rounded(warmup, steps):
    rate = learning_rate(resolved(schedule="constant", warmup=warmup), STEPS)
    found = [float(rate(step)) for step in range(20)]
    np.testing.assert_allclose(found, 0.5 * np.minimum((np.arange(20) + 1) / steps, 1), rtol=1e-6)


@pytest.mark.parametrize("anneal", [0.0, 0.5, 2.0])
def test_the_rate_of_weight_averaging_begins_with_its_first_step(anneal):
    """From half of the training on: linear over `anneal` epochs from what the schedule gave."""
    fields = {"swa_start": 0.5, "swa_learning_rate": 0.02, "swa_anneal": anneal}
    rate = learning_rate(resolved(schedule="cosine", warmup=0.0, **fields), STEPS)
    start, before = 40, 0.25 * (1 + math.cos(math.pi * 0.5))
    for step in (0, 39, 40, 41, 44, 59, 79):
        expected = 0.25 * (1 + math.cos(math.pi * step / 80))
        if step >= start:
            way = min(1.0, (step - start + 1) / max(anneal * STEPS, 1))
            expected = before * (1 - way) + 0.02 * way
        assert float(rate(step)) == pytest.approx(expected, rel=1e-5), step


def test_mixup_and_cutmix_share_the_batches_evenly():
    """CutMix leaves pixels as they were; the coin is fair to five deviations."""
    images = tf.cast(tf.random.stateless_uniform((4, 6, 6, 1), (1, 2), 0, 2, tf.int32), tf.float32)
    labels = tf.one_hot([0, 1, 2, 3], 4)
    draws, mixed = 600, 0
    made = tf.function(lambda seed: mixup_or_cutmix(images, labels, (1.0, 1.0), seed)[0])
    for seed in range(draws):
        pixels = made(tf.constant([seed, 7], tf.int64)).numpy()
        mixed += bool(((pixels > 0.001) & (pixels < 0.999)).any())
    assert abs(mixed - draws / 2) < 5 * math.sqrt(draws) / 2


@pytest.mark.parametrize(("every", "epochs"), [(1, (4, 5, 6)), (2, (5,))])
def test_snapshots_of_weight_averaging_by_numpy(every, epochs, tmp_path):
    """The mean of the weights behind those epochs, counted from 1; start is half of six."""
    weights = Weights()
    if len(epochs) < 2:
        with pytest.raises(kcnn.InputError, match="do not fit twice"):
            trained(tmp_path, swa_start=0.5, swa_every=every)
        run = trained(tmp_path, [weights], swa_start=0.3, swa_every=every)
        epochs = (4, 6)
    else:
        run = trained(tmp_path, [weights], swa_start=0.5, swa_every=every)
    assert run.result["averaged_snapshots"] == len(epochs)
    for found, *seen in zip(run.model.get_weights(), *weights.seen, strict=True):
        expected = np.mean([seen[epoch - 1] for epoch in epochs], axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_the_average_is_validated_each_epoch_where_asked_for(tmp_path):
    run = trained(tmp_path, swa_start=0.5, swa_validation=True)
    assert "swa_val_loss" in run.history
    assert "swa_val_loss" not in trained(tmp_path, swa_start=0.5).history


def test_histograms_are_written_where_asked_for(tmp_path):
    for asked in (True, False):
        run = trained(tmp_path / str(asked), epochs=2, histograms=asked)
        tags = set()
        for path in {event.parent for event in run.directory.rglob("events*")}:
            events = EventAccumulator(str(path), {"histograms": 0, "tensors": 0}).Reload()
            tags |= set(events.Tags()["histograms"]) | set(events.Tags()["tensors"])
        assert any("kernel" in tag for tag in tags) == asked


@pytest.mark.slow
def test_xla_where_asked_for(tmp_path):
    for asked in (True, False):
        weights = Weights()
        trained(tmp_path, [weights], epochs=1, jit=asked)
        assert weights.jit == [asked]


def test_the_last_two_checkpoints_of_a_run_stay(tmp_path):
    run = trained(tmp_path, checkpoint_every="epoch")
    names = sorted(path.name for path in (run.directory / "checkpoints").glob("*.ckpt"))
    assert len(names) == 2


def test_weights_that_are_not_finite_are_never_the_best(tmp_path):
    """A kernel that makes zero of what is no number can hide it from the loss."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    best = BestWeights(None, 10)
    best.set_model(model)
    best.on_train_begin()
    best.on_epoch_end(0, {"val_loss": 1.0})
    model.layers[-1].bias.assign([np.nan])
    best.on_epoch_end(1, {"val_loss": 0.5})
    assert best.epoch == 1
    best.restore()
    assert np.isfinite(model.get_weights()[1]).all()


class TestConstants:
    def test_batch_norm_is_as_pytorchs(self):
        """Its momentum is what the new batch gets; ours, what the old average keeps."""
        torch = pytest.importorskip("torch")
        theirs = torch.nn.BatchNorm2d(3)
        model = kcnn.build("resnet18", input_shape=(32, 32, 3), classes=3, batchnorm=True)
        norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert norms
        for norm in norms:
            assert norm.epsilon == theirs.eps
            assert norm.momentum == pytest.approx(1 - theirs.momentum)

    def test_he_initialisation(self):
        """He et al. 2015, equation 10: a standard deviation of sqrt(2 / fan in)."""
        keras.utils.set_random_seed(0)
        model = kcnn.build("resnet34", input_shape=(32, 32, 3), classes=3)
        large = [x.kernel for x in model.layers if isinstance(x, keras.layers.Conv2D)]
        for kernel in [k for k in large if math.prod(k.shape) > 30_000]:
            values, fan_in = kernel.numpy(), math.prod(kernel.shape[:3])
            assert values.std() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02), kernel.path

    def test_zero_gamma_is_of_the_last_norm_of_each_block(self):
        """Goyal et al. 2017, section 5.1: then a block is its shortcut at first."""
        options = {"input_shape": (32, 32, 3), "classes": 3, "batchnorm": True}
        model = kcnn.build("resnet18", zero_init_residual=True, **options)
        norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
        zero = [x.name for x in norms if not x.gamma.numpy().any()]
        assert len(zero) == 8  # of two in each of eight blocks
        inputs = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
        adds = [x for x in model.layers if isinstance(x, keras.layers.Add)]
        for add in adds:
            values = keras.Model(model.inputs[0], list(add.input))(inputs)
            assert sum(not np.asarray(value).any() for value in values) == 1, add.name


def test_a_period_in_seconds_is_kept(monkeypatch):
    """A clock that the test sets; steps do not matter."""
    now = [100.0]
    monkeypatch.setattr(period.time, "monotonic", lambda: now[0])
    for text, seconds in (("90 s", 90), ("1.5 min", 90), ("2 h", 7200)):
        found = period.Period(text)
        found.begin(0)
        begun = now[0]
        for passed, due in ((0, False), (seconds - 1, False), (seconds, True), (seconds + 5, True)):
            now[0] = begun + passed
            assert found.is_due(10**6, False) == due, (text, passed)
            assert found.is_due(1, True) == due, (text, passed)
        found.saved(7, now[0])
        assert not found.is_due(10**6, False)


@pytest.mark.slow
def test_checkpoints_in_seconds_are_written_within_an_epoch(tmp_path):
    """Of a training that is slow: five steps of .2 s, a period of .3 s, one epoch."""

    class Slow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            time.sleep(0.2)

    found = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found.extend(path.name for path in tmp_path.rglob("*.ckpt"))

    trained(
        tmp_path, [Slow(), Look()], epochs=1, batch_size=8, checkpoint_every="0.3 s",
        steps_per_execution=1,
    )  # fmt: skip
    assert len(found) == 2  # of three or so, the last two
    assert all(name.startswith("epoch-0000-step-") for name in found)


def test_statistics_of_the_average_are_over_batches_behind_the_last(tmp_path, monkeypatch):
    """Of an epoch that no step was trained on: another order and other augmentation."""
    starts, training = [], StoredProblem.training

    def noted(self, recipe, size, targets, start):
        starts.append(start)
        return training(self, recipe, size, targets, start)

    monkeypatch.setattr(StoredProblem, "training", noted)
    run = trained(tmp_path, swa_start=0.5, batchnorm=True)
    assert starts == [0, 6 * 3]  # 6 epochs; 39 images in batches of 16
    assert run.result["steps"] == 6 * 3


@pytest.mark.parametrize("select", ["best", "last"])
def test_the_average_is_what_is_kept(select, tmp_path):
    """Not the best epoch, also where epochs are chosen."""
    weights = Weights()
    run = trained(tmp_path, [weights], swa_start=0.5, select=select)
    for found, *seen in zip(run.model.get_weights(), *weights.seen, strict=True):
        np.testing.assert_allclose(found, np.mean(seen[3:], axis=0), atol=1e-6)
    saved = keras.models.load_model(run.directory / "model.keras")
    for found, kept in zip(run.model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(found, kept)


def test_with_ema_the_average_is_validated_and_kept(tmp_path):
    """By NumPy: the average of the weights step by step, and its loss on validation images.

    Keras begins it with the weights behind the first step.
    """
    seen = []

    class Steps(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([w.numpy() for w in self.model.trainable_weights])

    run = trained(tmp_path, [Steps()], ema=0.8, steps_per_execution=1, epochs=3)
    average, losses = seen[0], []
    validation = kcnn.from_arrays(DATA, seed=0).validation
    for number, weights in enumerate(seen, 1):
        average = [0.8 * a + 0.2 * w for a, w in zip(average, weights, strict=True)]
        if number % 3 == 0:
            losses.append(_loss_with(run.model, average, validation))
    np.testing.assert_allclose(run.history["val_loss"], losses, rtol=1e-4)
    raw = [_loss_with(run.model, weights, validation) for weights in seen[2::3]]
    assert abs(np.array(raw) - losses).min() > 1e-3  # the raw weights' is another


def _loss_with(model, weights, split):
    kept = model.get_weights()
    for variable, value in zip(model.trainable_weights, weights, strict=True):
        variable.assign(value)
    shares = model.predict(split.images, verbose=0)
    model.set_weights(kept)
    return -np.log(shares[range(len(split.labels)), split.labels]).mean()


def test_each_augmentation_draws_for_itself_and_for_each_step(monkeypatch):
    """With one seed for two, the place of a window would go with the partner, or the angle."""
    seeds = set()

    def note(module, name):
        original = getattr(module, name)

        def noted(*args):
            (seed,) = (a.numpy() for a in args if tf.is_tensor(a) and a.shape == (2,))
            seeds.add(tuple(seed))
            return original(*args)

        monkeypatch.setattr(module, name, noted)

    note(augmentation, "pad_crop")
    note(augmentation, "colour")
    note(augmentation, "mixup")
    note(bending, "turn")
    note(bending, "erase")
    note(randaugment, "rand_augment")
    images = np.zeros((64, 12, 12, 1), "uint8")
    split = Split(images, np.arange(64) % 2)
    augment = "crop,rotation=15,erasing=0.5,randaugment=1:9"
    feed = training_feed(split, 16, classes=2, seed=3, augment=augment, mixup=0.4, colour=0.2)
    for step, element in enumerate(feed.steps.take(3), 1):
        feed.batch(element, feed.resident)
        assert len(seeds) == 6 * step


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov"])
def test_the_optimiser_that_is_handed_out_spares_vectors(optimizer, tmp_path):
    """A step without gradient is decay alone: w - rate x decay x w, and biases stay."""
    run = trained(
        tmp_path, epochs=1, optimizer=optimizer, learning_rate=0.1, weight_decay=0.5, warmup=0.0
    )
    weights = run.model.trainable_weights
    for weight in weights:
        weight.assign(np.ones(weight.shape))
    run.model.optimizer.apply([np.zeros(w.shape, "float32") for w in weights], weights)
    for weight in weights:
        expected = 0.95 if len(weight.shape) > 1 else 1.0
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_waits_for_so_many_epochs(patience, tmp_path):
    """The second epoch is the best: that many come behind it."""

    class Told(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [2.0, 1.0, 1.5][min(epoch, 2)]

    run = trained(tmp_path, [Told()], epochs=9, early_stopping=patience)
    assert len(run.history["loss"]) == 2 + patience


def test_best_weights_that_cannot_be_written_stop_a_run_at_once(tmp_path, monkeypatch):
    """In a program of somebody else's they only warn; a run goes on when there is room again."""
    epochs = []

    class Count(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            epochs.append(epoch)

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(best, "_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(BestWeights, "write", full)
        with pytest.raises(OSError, match="No space left"):
            trained(tmp_path, [Count()], select="best", name="run")
    assert epochs == [0]
    run = kcnn.resume(tmp_path / "run", data=DATA, callbacks=[Count()], verbose=False)
    assert len(run.history["loss"]) == 6
