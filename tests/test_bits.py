"""`make bits` sees a change of the arithmetic, and none where there is none."""

import importlib.util
from pathlib import Path

import pytest

from kcnn.training.loop import engine, optimizers

pytestmark = pytest.mark.slow

PATH = Path(__file__).parents[1] / "tools" / "bits.py"
NAMES = ["mlp with dropout"]


@pytest.fixture(scope="module")
def bits():
    spec = importlib.util.spec_from_file_location("bits", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_changed_update_is_seen(bits, monkeypatch):
    before = bits.train(NAMES)
    assert bits.differences(before, bits.train(NAMES)) == [(NAMES[0], [])]
    step = optimizers.Update._step

    def other(self, gradient, variable, rate):
        step(self, gradient + 0.01, variable, rate)  # Adam does not mind a factor

    monkeypatch.setattr(optimizers.Update, "_step", other)
    engine.forget()
    kinds = ["weights", "metrics", "predictions"]
    assert bits.differences(before, bits.train(NAMES)) == [(NAMES[0], kinds)]
    engine.forget()
