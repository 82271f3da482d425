"""Where Keras' backend is not TensorFlow: callbacks work in `fit`, training is refused."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from oracles.images import write_image

import kcnn
from kcnn.runs.inference import evaluate_run, predict

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys, tempfile, warnings
import keras
import numpy as np
import kcnn
from kcnn import callbacks
from kcnn.runs.inference import evaluate_run, predict

run, image = sys.argv[1:]
found = {}
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int32")
folder = tempfile.mkdtemp()
for name, made in {
    "TensorBoard": callbacks.TensorBoard(
        folder, histogram_freq=1, hparams={"a": 1}, texts={"t": "b"}, update_freq=1
    ),
    "BestWeights": callbacks.BestWeights(folder + "/b.weights.h5", 10),
    "MetricsTable": callbacks.MetricsTable(folder + "/m.csv"),
    "StochasticWeightAveraging": callbacks.StochasticWeightAveraging(start=0.25),
    "ExactCheckpoint": callbacks.ExactCheckpoint(folder + "/c"),
}.items():
    norm = keras.layers.BatchNormalization()
    dense = keras.layers.Dense(8), keras.layers.Dense(2, "softmax")
    model = keras.Sequential([keras.Input((4,)), dense[0], norm, dense[1]])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.fit(x, y, epochs=4, validation_data=(x, y), verbose=0, callbacks=[made])
    found[name] = [str(w.message) for w in said if "kcnn" in w.filename]
loaded = kcnn.load_run(run)
found["evaluation"] = evaluate_run(loaded).loss
found["predictions"] = [predict(loaded, [image] * n)[-1].probability for n in (1, 5000)]
for name, call in {
    "train": lambda: kcnn.train(verbose=False),
    "resume": lambda: kcnn.resume(run, epochs=9),
    "tune": lambda: kcnn.tuning.tune(),
}.items():
    try:
        call()
    except kcnn.InputError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_callbacks_work_and_training_is_refused(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}: pip install kcnn[oracle]")
    recipe = kcnn.Recipe(model="mlp", epochs=1, logs=str(tmp_path / "logs"), name="run")
    run = kcnn.train(recipe, verbose=False)
    image = write_image(tmp_path / "i.png", (90, 80, 70))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(run.directory), str(image)],
        env=os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (graph,) = found.pop("TensorBoard")
    assert graph.startswith("TensorBoard gets no graph of 'sequential")
    assert graph.endswith(f"the backend is {backend}.")
    for name in ("BestWeights", "MetricsTable", "StochasticWeightAveraging", "ExactCheckpoint"):
        assert found[name] == []
    assert found["evaluation"] == pytest.approx(evaluate_run(run).loss, rel=1e-4)
    expected = predict(run, [image])[0].probability
    np.testing.assert_allclose(found["predictions"], expected, rtol=1e-4)
    for name in ("train", "resume", "tune"):
        assert found[name].startswith(f"kcnn.{name} trains by TensorFlow")
        assert f"{backend!r}" in found[name]
    assert (run.directory / "model.keras").is_file()  # a resume that is refused touches nothing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.png", "logs"]
