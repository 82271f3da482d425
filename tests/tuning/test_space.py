"""Search spaces: tables, overrides, and the way from `hp` to a recipe."""

import copy
import itertools
import pickle

import keras
import keras_tuner
import numpy as np
import pytest

import kcnn
from kcnn.recipes.domains import parse
from kcnn.recipes.families import ALEXNET, LENET, MLP, RESNET, VGG
from kcnn.tuning import Choice, Range, hypermodel, space_of
from kcnn.tuning.overrides import space_file
from kcnn.tuning.space import drawn, quantized

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")


def draws(space, count, seed=0):
    """Recipes of random values."""
    declared, seeds = space.declared(), itertools.count(seed)
    for _ in range(count):
        hp = declared.copy()
        hp.values = drawn(declared, seeds)
        yield space.recipe(hp, kcnn.Recipe(epochs=10))


class TestTables:
    @pytest.mark.parametrize("model", ["mlp", "lenet5", "alexnet", "vgg16", "resnet34"])
    def test_every_row_reaches_the_recipe_and_stays_in_its_domain(self, model):
        space = space_of(model)
        recipes = list(draws(space, 60))
        seen = {name: set() for name in space.searched}
        for recipe in recipes:
            fields = recipe.to_dict()
            known = fields | fields["options"] | {"swa": fields["swa_start"] is not None}
            for name, row in space.searched.items():
                value = known.get(name)
                if value is not None:
                    seen[name].add(value)
                    inside = (
                        value in row.values
                        if isinstance(row, Choice)
                        else (row.low <= value <= row.high)
                    )
                    assert inside, (name, value)
            assert (recipe.momentum is not None) == (recipe.optimizer == "nesterov")
            assert (recipe.swa_learning_rate is not None) == (recipe.swa_start is not None)
        assert min(map(len, seen.values())) > 1

    def test_families_have_what_the_issue_names(self):
        common = {"learning_rate", "weight_decay", "momentum", "dropout", "batch_size",
                  "optimizer", "batchnorm", "augment", "label_smoothing", "swa_start",
                  "swa_learning_rate"}  # fmt: skip
        for family in (MLP, LENET, ALEXNET, VGG, RESNET):
            assert common <= family.space.keys()
        assert {"width", "depth"} <= MLP.space.keys()
        assert {"widths", "depths"} <= space_of("resnet20").rows.keys()

    def test_rates_are_uniform_in_the_logarithm(self):
        rates = [recipe.learning_rate for recipe in draws(space_of("lenet5"), 400)]
        below = np.mean(np.array(rates) < 10**-2.5)  # the middle of 1e-4 to 1e-1
        assert below == pytest.approx(0.5, abs=0.1)
        distances = [1 - r.momentum for r in draws(space_of("lenet5"), 400) if r.momentum]
        assert np.mean(np.array(distances) < np.sqrt(0.2 * 0.01)) == pytest.approx(0.5, abs=0.12)

    def test_small_images_are_not_cropped(self):
        assert "augment" not in space_of("lenet5", image_shape=(8, 8, 1)).rows
        assert "augment" in space_of("lenet5", image_shape=(28, 28, 1)).rows
        assert "augment" in space_of("lenet5", ["augment=none,crop"], {}, (8, 8, 1)).rows

    def test_hp_to_recipe_is_a_pure_function(self):
        space = space_of("vgg16")
        hp = space.declared()
        hp.values = drawn(hp, itertools.count(3))
        before, base = dict(hp.values), kcnn.Recipe()
        assert space.recipe(hp, base) == space.recipe(hp, base)
        assert (hp.values, base) == (before, kcnn.Recipe())

    @pytest.mark.parametrize("model", ["lenet5", "resnet20"])
    def test_values_survive_kerastuners_messages(self, model):
        """Chief and workers send 32-bit numbers; all processes are to train the same recipe."""
        space = space_of(model)
        declared, seeds = space.declared(), itertools.count()
        for _ in range(200):
            hp = declared.copy()
            hp.values = quantized(space, drawn(declared, seeds))
            sent = declared.copy()
            sent.values = {
                n: float(np.float32(v)) if isinstance(v, float) else v for n, v in hp.values.items()
            }
            assert space.choose(sent) == space.choose(hp)


class TestOverrides:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1e-4:1e-1:log", Range(1e-4, 1e-1, "log")),
            ("0.1:0.5", Range(0.1, 0.5)),
            ("1:4", Range(1, 4)),
            ("32,64", Choice((32, 64))),
            ("true,false", Choice((True, False))),
            ("default,0.5", Choice((None, 0.5))),
            ("none,crop", Choice(("none", "crop"))),
            ("(1,2),(3,4)", Choice(((1, 2), (3, 4)))),
            ("adam", "adam"),
            ("0.5", 0.5),
            ("(8, 16)", (8, 16)),
        ],
    )
    def test_texts(self, text, expected):
        assert parse(text) == expected

    def test_a_range_keeps_the_scale_it_had(self):
        assert space_of("lenet5", ["learning_rate=1e-3:1e-2"]).rows["learning_rate"].scale == "log"

    @pytest.mark.parametrize("model", ["lenet5", "vgg16"])
    def test_its_own_text_gives_the_same_space(self, model):
        space = space_of(model)
        again = space_of(model, [f"{name}={text}" for name, text in space.texts().items()])
        assert again.texts() == space.texts()
        assert again.rows["dropout"] == space.rows["dropout"]

    def test_command_line_beats_file_beats_table(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(
            "import kcnn.tuning\n"
            "space = {'learning_rate': kcnn.tuning.Range(1e-3, 1e-2, 'log'),\n"
            "         'batch_size': [16, 32], 'dropout': 0.3}\n"
        )
        space = space_of("lenet5", ["batch_size=64,128"], space_file(file))
        assert space.rows["learning_rate"] == Range(1e-3, 1e-2, "log")
        assert space.rows["batch_size"] == Choice((64, 128))
        assert {recipe.dropout for recipe in draws(space, 5)} == {0.3}

    def test_rows_that_cannot_count_are_gone(self):
        assert "momentum" not in space_of("lenet5", ["optimizer=adam"]).rows
        assert "swa_start" not in space_of("lenet5", ["swa=false"]).rows
        always = space_of("lenet5", ["swa_start=0.6"])
        assert {recipe.swa_start for recipe in draws(always, 5)} == {0.6}

    def test_a_fixed_value_counts_only_under_its_condition(self):
        space = space_of("lenet5", ["momentum=0.5"])
        found = {(recipe.optimizer, recipe.momentum) for recipe in draws(space, 20)}
        assert found == {("adamw", None), ("nesterov", 0.5)}

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (["lerning_rate=1"], "no 'lerning_rate'"),
            (["depth=1:4"], "neither a recipe nor lenet5"),
            (["learning_rate"], "NAME=LOW:HIGH"),
            (["learning_rate=1:1"], "from a smaller number to a larger"),
            (["learning_rate=0:1"], "numbers above 0"),
            (["momentum=0.5:1"], "numbers below 1"),
            (["learning_rate=1:2:cubic"], "one of linear, log, log1m"),
            (["batch_size=32,32"], "different values"),
            (["epochs=3:9"], "the same for all trials"),
            (["optimizer=adam", "momentum=0.9"], "momentum counts only where optimizer"),
            (["swa=false", "swa_start=0.5"], "swa_start counts only where swa"),
            (["swa=0.5:0.9"], "swa is true, false"),
            (["dropout="], "A value is missing"),
        ],
    )
    def test_what_is_refused(self, rows, message):
        with pytest.raises(kcnn.InputError, match=message):
            space_of("lenet5", rows)

    def test_nothing_to_search(self):
        fixed = [f"{name}=0.1" for name in ("learning_rate", "weight_decay", "dropout",
                                            "label_smoothing")]  # fmt: skip
        fixed += ["optimizer=adam", "batch_size=32", "batchnorm=true", "augment=none", "swa=false"]
        with pytest.raises(kcnn.InputError, match="Everything in the search space is fixed"):
            space_of("lenet5", fixed)

    def test_files_without_a_space(self, tmp_path):
        with pytest.raises(kcnn.InputError, match="not there"):
            space_file(tmp_path / "none.py")
        (tmp_path / "space.txt").write_text("space = {}")
        with pytest.raises(kcnn.InputError, match=r"in a Python file \(\.py\)"):
            space_file(tmp_path / "space.txt")
        (tmp_path / "empty.py").write_text("spaces = 3\n")
        with pytest.raises(kcnn.InputError, match="is to hold `space`"):
            space_file(tmp_path / "empty.py")

    def test_networks_of_the_users_own(self):
        @kcnn.register("mine", input_shape=(8, 8, 1), classes=10)
        def mine(input_shape, classes, width=16):
            raise AssertionError

        rows = space_of("mine", ["width=8,16"]).rows
        assert rows["width"] == Choice((8, 16))
        assert {"learning_rate", "swa"} <= rows.keys()
        assert "dropout" not in rows


class TestHyperModel:
    @pytest.mark.slow
    def test_kerastuner_searches_it(self, tmp_path):
        rng = np.random.default_rng(0)
        labels = np.arange(48) % 3
        images = (rng.integers(0, 64, (48, 8, 8, 1)) + 60 * labels[:, None, None, None]) / 255.0
        space = {"width": [4, 8], "depth": 2, "optimizer": ["adamw", "momentum", "rmsprop"]}
        made = hypermodel("mlp", input_shape=(8, 8, 1), classes=3, space=space, dropout=0.1)
        tuner = keras_tuner.RandomSearch(made, "val_accuracy", max_trials=3, directory=tmp_path,
                                         seed=1)  # fmt: skip
        tuner.search(images, labels, validation_data=(images, labels), epochs=2, verbose=0)
        trials = tuner.oracle.get_best_trials(3)
        assert [trial.status for trial in trials] == ["COMPLETED"] * 3
        best = tuner.get_best_models()[0]
        assert best.get_layer("fc1").units == trials[0].hyperparameters.values["width"]
        assert best.evaluate(images, labels, verbose=0)[1] == pytest.approx(trials[0].score)
        # What KerasTuner has saved is plain Keras' own.
        plain = keras.Model.from_config(best.get_config())
        (saved,) = tmp_path.glob(f"**/trial_{trials[0].trial_id}/*.weights.h5")
        plain.load_weights(saved)
        np.testing.assert_array_equal(plain.predict(images, verbose=0),
                                      best.predict(images, verbose=0))  # fmt: skip

    def test_it_can_be_pickled(self):
        """As tuners that work in other processes do."""
        made = hypermodel("mlp", input_shape=(6, 6, 1), classes=3, space={"width": [4, 8]},
                          overrides=["depth=1"], dropout=0.1)  # fmt: skip
        for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
            hp = keras_tuner.HyperParameters()
            model = again.build(hp)
            assert "width" in hp.values
            assert "depth" not in hp.values
            assert model.input_shape == (None, 6, 6, 1)
            assert model.output_shape == (None, 3)
            assert again.name == made.name

    def test_rows_it_has_no_place_for_are_refused(self):
        with pytest.raises(kcnn.InputError, match="no swa"):
            hypermodel("mlp", overrides=["swa=true"])

    @pytest.mark.parametrize("activation", ["default", None])
    @pytest.mark.parametrize("classes", [1, 3])
    def test_its_loss_and_accuracy_by_numpy(self, classes, activation, tmp_path):
        """Of logits and of probabilities, with one output and with several."""
        options = {} if activation == "default" else {"classifier_activation": None}
        made = hypermodel("mlp", input_shape=(6, 6, 1), classes=classes, **options)
        model = made.build(keras_tuner.HyperParameters())
        rng = np.random.default_rng(0)
        images = rng.normal(size=(40, 6, 6, 1)).astype("float32")
        labels = rng.integers(0, max(classes, 2), 40)
        outputs = model.predict(images, verbose=0).astype("float64")
        if activation is None:
            exponents = np.exp(outputs)
            outputs = exponents / ((1 + exponents) if classes == 1 else exponents.sum(1)[:, None])
        shares = np.hstack([1 - outputs, outputs]) if classes == 1 else outputs
        loss, accuracy = model.evaluate(images, labels, verbose=0)
        assert loss == pytest.approx(-np.log(shares[range(40), labels]).mean(), rel=1e-4)
        assert accuracy == pytest.approx((shares.argmax(1) == labels).mean())
        config = keras.saving.serialize_keras_object(model.loss)
        assert config["module"] == "keras.losses"  # a file of it needs no kcnn

    def test_its_decay_spares_vectors(self):
        """With gradients of zero kernels shrink, biases and BatchNorm's gammas do not."""
        made = hypermodel(
            "mlp", input_shape=(6, 6, 1), classes=3, batchnorm=True,
            space={"optimizer": "momentum", "weight_decay": 0.5, "learning_rate": 0.1},
        )  # fmt: skip
        model = made.build(keras_tuner.HyperParameters())
        for weight in model.trainable_weights:
            weight.assign(keras.ops.ones(weight.shape))
        zeros = [keras.ops.zeros(weight.shape) for weight in model.trainable_weights]
        model.optimizer.apply(zeros)
        for weight in model.trainable_weights:
            expected = 1 - 0.1 * 0.5 if len(weight.shape) > 1 else 1.0
            np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6, err_msg=weight.path)
