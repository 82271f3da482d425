"""The same weights give the same outputs on Keras' JAX backend, and without TensorFlow."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from oracles.jax_forward import CASES

import kcnn

pytestmark = pytest.mark.slow

#: Most of the time is XLA's: it compiles the initialiser of every shape of weights.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Of both backends: two mappings from case to array."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs jax: pip install kcnn[oracle]")
    folder, rng = tmp_path_factory.mktemp("jax"), np.random.default_rng(0)
    images, tensorflow = {}, {}
    keras.utils.set_random_seed(0)
    for case, (name, options) in CASES.items():
        model = kcnn.build(name, **options)
        for weight in model.weights:
            if len(weight.shape) == 1:  # biases and BatchNorm's start at 0 and 1
                weight.assign(weight + rng.uniform(0, 0.2, weight.shape).astype("float32"))
        model.save_weights(folder / f"{case}.weights.h5")
        images[case] = rng.normal(size=(2, *model.input_shape[1:])).astype("float32")
        tensorflow[case] = np.asarray(model(images[case], training=False))
    np.savez(folder / "images.npz", **images)
    script = Path(__file__).parents[1] / "oracles" / "jax_forward.py"
    subprocess.run(
        [sys.executable, script, folder],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK},
        check=True,
    )
    with np.load(folder / "outputs.npz") as jax:
        return tensorflow, dict(jax)


@pytest.mark.parametrize("case", CASES)
def test_same_weights_give_the_same_outputs_on_jax(case, outputs):
    tensorflow, jax = outputs
    assert np.ptp(tensorflow[case], axis=0).max() > 1e-4  # not the same for all images
    difference = np.linalg.norm(jax[case] - tensorflow[case])
    assert difference < 1e-4 * np.linalg.norm(tensorflow[case])
