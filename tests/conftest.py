"""Shared fixtures: TensorFlow loads once and in silence, the real data where it is at hand."""

import os
import signal
from pathlib import Path

import pytest

import kcnn
from kcnn import startup
from kcnn.models import registry
from kcnn.startup import keras

startup.load()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in whatever a shell has put behind: tests that interrupt mean what happens in front.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as behind nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch):
    """What a test registers is forgotten behind it."""
    kcnn.list_models()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.setattr(registry, "_IMPORTED_FILES", set())


@pytest.fixture(autouse=True)
def seeded():
    """Weights that a test draws are the same in every run of the tests."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that KCNN_DATA names, with real data sets; without it the test skips."""
    folder = os.environ.get("KCNN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set KCNN_DATA to the folder that holds mnist.npz and others")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """LeNet-5 on digits for two epochs, in a folder with a space and an umlaut."""
    logs = tmp_path_factory.mktemp("Läufe und mehr")
    recipe = kcnn.Recipe(epochs=2, name="digits run", logs=str(logs), histograms=True)
    return kcnn.train(recipe, verbose=False)
