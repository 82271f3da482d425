"""Every file that kcnn writes loads in plain Keras, in a process where kcnn cannot be imported."""

import keras
import keras_tuner
import numpy as np
import pytest
from oracles import without_kcnn

import kcnn

pytestmark = pytest.mark.slow

LABELS = np.arange(48) % 3
PIXELS = np.random.default_rng(0).integers(0, 200, (48, 8, 8, 1))
DATA = ((PIXELS + 25 * LABELS[:, None, None, None]).astype("uint8"), LABELS)


def own():
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def test_files(tmp_path):
    expected = {}

    def keep(model, name):
        path = str(tmp_path / f"{name}.keras")
        model.save(path)
        expected[path] = model.predict(DATA[0], verbose=0)

    def trained(name, callbacks=(), **options):
        recipe = kcnn.Recipe(epochs=2, batch_size=16, logs=str(tmp_path), name=name,
                             **options.pop("recipe", {}))  # fmt: skip
        return kcnn.train(recipe, data=DATA, callbacks=callbacks, verbose=False, **options)

    inside = str(tmp_path / "inside.keras")
    saving = keras.callbacks.ModelCheckpoint(inside)
    network = {"model": "resnet20", "batchnorm": True, "image_size": (16, 16), "dropout": 0.1,
               "options": {"depths": (1,), "widths": (16,)}}  # fmt: skip
    run = trained("network", [saving], recipe=network | {"select": "last"})
    keep(run.model, "network")
    expected[inside] = expected[str(run.directory / "model.keras")] = run.model.predict(
        DATA[0], verbose=0
    )
    run = trained("own", model=own())
    keep(run.model, "own")
    expected[str(run.directory / "model.keras")] = run.model.predict(DATA[0], verbose=0)
    made = kcnn.tuning.hypermodel("mlp", input_shape=(8, 8, 1), classes=3)
    keep(made.build(keras_tuner.HyperParameters()), "hypermodel")
    resized = kcnn.build(
        "vgg11", input_shape=(8, 8, 1), classes=3, batchnorm=True, widths=(16,) * 5, hidden=(8,),
        preprocessing=[keras.layers.Resizing(32, 32)],
    )  # fmt: skip
    keep(kcnn.fold_batchnorm(resized), "folded")
    found = without_kcnn.outputs(list(expected), DATA[0], tmp_path)
    for path, outputs in expected.items():
        np.testing.assert_allclose(found[path], outputs, atol=1e-5, err_msg=path)
