"""The README is true: its tables are the registry's, its examples run."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.models.registry import lookup
from kcnn.terminal import shape_text, si

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_table_of_networks_is_the_registrys():
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\d+) \| ([\d,]+) \| ([^|]+) \| ([^|]+) \|$",
                      README, re.MULTILINE)  # fmt: skip
    assert sorted(row[0] for row in rows) == kcnn.list_models()
    for name, shape, classes, parameters, macs, paper in rows:
        entry = lookup(name)
        assert shape == shape_text(entry.input_shape)
        assert int(classes) == entry.classes
        assert parameters == f"{entry.parameters:,}"
        assert macs == si(entry.macs)
        assert paper.startswith(entry.paper)


@pytest.mark.slow
def test_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import keras

    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype("uint8")
    labels = np.arange(40) % 4
    stream = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    names = {
        "my_model": keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
        ),
        "images": images,
        "labels": labels,
        "train_ds": stream,
        "val_ds": stream,
    }
    found = blocks("python")
    assert len(found) == 5
    if importlib.util.find_spec("onnxruntime") is None:  # the extra `export`
        found = [block for block in found if "onnxruntime" not in block]
    for block in found:
        exec(compile(block, "README.md", "exec"), names)
    assert names["run"].result["test_accuracy"] > 0.95
    assert names["card"].parameters == 138_357_544


@pytest.fixture
def example_files(tmp_path, digits_run):
    """What the README's commands name: a run, an image, a file with a network."""
    from PIL import Image

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "RUN").symlink_to(digits_run.directory)
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "photo.jpg")
    own = next(block for block in blocks("python") if "@kcnn.register" in block)
    (tmp_path / "my_models.py").write_text(own.replace('kcnn.build("tiny"', '# kcnn.build("tiny"'))
    return tmp_path


@pytest.mark.slow
def test_commands_run(example_files):
    commands = [
        line.partition("#")[0].strip()
        for block in blocks("sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands += re.findall(r"`(kcnn (?:train|list|show) [^`]*\.py[^`]*)`", README)
    # Minutes each, even for an epoch; `benchmarks.segment_detect` trains them.
    download = ["cifar10", "--data pets", "--data bccd", "--recipe transfer", "predict vgg16"]
    if importlib.util.find_spec("onnxruntime") is None:
        download.append("kcnn export")
    if not os.environ.get("KCNN_DATA"):
        download.append("--recipe fast")
    commands = [c for c in commands if not any(name in c for name in download)]
    ours = [shlex.split(c) for c in commands if c.startswith("kcnn ")]
    assert len(ours) >= 7
    for command in ours:
        arguments = [word for word in command[1:] if word != "..."]
        if arguments[0] == "train":
            arguments += ["--epochs", "1"]
        if arguments[0] == "tune":
            arguments += ["--epochs", "1", "--trials", "2"]
        if arguments[0] == "resume" and "--epochs" in arguments:
            arguments[arguments.index("--epochs") + 1] = "2"
        done = subprocess.run(
            [sys.executable, "-m", "kcnn.cli.main", *arguments],
            cwd=example_files, capture_output=True, text=True, check=False, env=os.environ,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
