"""`Recipe.cache`: image files that are decoded once."""

import numpy as np
import pytest
from PIL import Image

import kcnn


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 180)):
        (folder / name).mkdir()
        for number in range(20):
            pixels = rng.integers(level - 50, level + 50, (14 + number % 3, 15, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def trained(photographs, logs, **fields):
    recipe = kcnn.Recipe(
        model="mlp",
        data=str(photographs),
        options={"width": 8},
        image_size=(12, 12),
        augment="crop-flip",
        epochs=2,
        batch_size=10,
        logs=str(logs),
        **fields,
    )
    return kcnn.train(recipe, verbose=False)


@pytest.mark.slow
def test_the_same_bits_with_and_without(photographs, tmp_path):
    plain = trained(photographs, tmp_path / "plain")
    for cache in ("memory", str(tmp_path / "cache")):
        run = trained(photographs, tmp_path / "cached", cache=cache)
        assert run.history["loss"] == plain.history["loss"]
        assert run.history["val_loss"] == plain.history["val_loss"]
        assert run.test_metrics == plain.test_metrics
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3  # one for each split


@pytest.mark.slow
def test_a_second_run_decodes_nothing(photographs, tmp_path, monkeypatch):
    first = trained(photographs, tmp_path, cache=str(tmp_path / "cache"))
    calls = []
    monkeypatch.setattr("kcnn.data.batches.fetch.load_image", lambda *_: calls.append(1))
    monkeypatch.setattr(
        "kcnn.tasks.stored.statistics",
        lambda split, **_: (np.full(3, 120, "float32"), np.full(3, 3600, "float32")),
    )
    trained(photographs, tmp_path, cache=str(tmp_path / "cache"))
    assert calls == []
    assert first.test_metrics["accuracy"] is not None


def test_arrays_are_refused_before_a_run_is_begun(tmp_path):
    with pytest.raises(kcnn.InputError, match="cache='memory' keeps image files decoded"):
        kcnn.train(kcnn.Recipe(cache="memory", logs=str(tmp_path / "logs")), verbose=False)
    assert not (tmp_path / "logs").exists()
