"""Every command, with class names, folders and files of any name: text, and commands that work."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = [
    "[red]x", "ä ö", "-rf", "a'b\"c", "two\nlines", os.fsdecode(b"\xff\xfe raw"), "\x1b[31mred",
    "$(touch owned)",
]  # fmt: skip
SHORT = ["--epochs", "1", "--batch-size", "8"]


@pytest.fixture
def outcome(outcome):
    """As everywhere; and nothing that it prints is an escape sequence, or a traceback."""

    def call(*arguments):
        status, out, err = outcome(*arguments)
        for text in (out, err):
            assert "\x1b[31m" not in text
            assert "Traceback" not in text
        return status, out, err

    return call


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of class folders with those names."""
    root, rng = tmp_path_factory.mktemp("named") / "[/b] data", np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(6):
            pixels = rng.integers(0, 40, (36, 36, 3), dtype=np.uint8) + 25 * number
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index} [b]\n.png")
    return root


def pasted(line, folder):
    """What a shell makes of a line: its arguments, behind `kcnn`."""
    script = f"kcnn() {{ {sys.executable} -c 'import sys; print(ascii(sys.argv[1:]))' \"$@\"; }}; "
    done = subprocess.run(["bash", "-c", script + line], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)  # of ascii()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["-rf [red]", os.fsdecode(b"\xff run\n")])
def test_train_resume_evaluate_predict(name, images, outcome, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "[bold]logs\x1b[31m"
    train = ["lenet5", "--data", images, "--logs", logs, f"--name={name}", "--image-size", 32, 32]
    status, out, err = outcome("train", *train, *SHORT)
    assert (status, err) == (0, "")
    assert "[red]x" in out
    look = next(line for line in out.splitlines() if "tensorboard --logdir" in line)
    assert pasted(look.partition("tensorboard")[2].join(["kcnn", ""]), tmp_path)[1] == str(logs)
    run = logs / name
    recorded = json.loads((run / "recipe.json").read_text())
    assert sorted(recorded["data"]["class_names"]) == sorted(CLASSES)

    status, out, err = outcome("resume", run)
    assert (status, err) == (0, "")
    assert "is finished" in out
    status, out, err = outcome("evaluate", run)
    assert (status, err) == (0, "")
    assert "[red]x" in out
    picture = next((images / "-rf").iterdir())
    status, out, err = outcome("predict", run, picture)
    assert (status, err) == (0, "")
    assert out.count("\n") == 1
    assert r"\n.png" in out

    status, out, err = outcome("train", *train, *SHORT)  # there is one
    assert status == 2
    (run / "result.json").unlink()
    status, out, err = outcome("train", *train, *SHORT)
    assert status == 2
    command = re.search(r"kcnn resume .*?(?=, choose)", err)[0]
    assert pasted(command, tmp_path) == ["resume", str(run)]


@pytest.mark.slow
def test_tune(outcome, tmp_path):
    """Its commands can be pasted; names of trials, figures and spaces are text."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    pixels = rng.integers(0, 256, (60, 6, 6, 1), dtype=np.uint8)
    data = tmp_path / "a[b] $(x) [red].npz"
    np.savez(data, x_train=pixels, y_train=labels, class_names=["[red]x", "\x1b[31m", "$a$"])
    logs, name = tmp_path / "lo'gs [bold]", os.fsdecode(b"-s \xff")
    arguments = ["mlp", "--data", data, "--logs", logs, f"--name={name}", "--trials", 2]
    space = ["--epochs", 1, "--space", "width=4,8", "depth=1", "batch_size=16", "swa=false"]
    status, out, err = outcome("tune", *arguments, *space)
    assert (status, err) == (0, "")
    repeat = next(line for line in out.splitlines() if line.startswith("Repeat it:"))
    words = pasted(repeat.removeprefix("Repeat it:").strip(), tmp_path)
    assert words == ["train", "--recipe", str(logs / name / "best.json")]
    again = ["--logs", logs, "--name", "again"]
    assert outcome(*words, *again)[0] == 0


@pytest.mark.slow
def test_a_class_whose_name_closes_what_it_did_not_open(outcome, tmp_path):
    names = ["a[/b]", "[bold]", "c"]
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    pixels = rng.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=labels, class_names=names)
    status, out, err = outcome(
        "train", "lenet5", "--data", tmp_path / "a.npz", "--logs", tmp_path / "logs", *SHORT
    )
    assert (status, err) == (0, "")
    assert "a[/b]" in out
    (run,) = (tmp_path / "logs").iterdir()
    assert outcome("evaluate", run)[0] == 0


@pytest.mark.parametrize("name", ["[red]x", "a[/b]", "-x", "\x1b[31mx", "a\nb", "é", "'"])
def test_names_that_are_not_there_are_refused_in_words(name, outcome, tmp_path):
    missing = f"./{name}"
    for arguments in (
        ("show", name), ("list", name), ("resume", missing), ("evaluate", missing),
        ("predict", missing, missing), ("train", "--data", missing), ("tune", "--data", missing),
        ("train", "--recipe", missing),
    ):  # fmt: skip
        status, out, err = outcome(*arguments)
        assert status == 2
        assert out + err


def test_a_models_name_can_be_anything_that_its_file_says(outcome, tmp_path):
    path = tmp_path / "[red]models\x1b[31m.py"
    path.write_text(
        "import keras, kcnn\n"
        "@kcnn.register('odd', input_shape=(8, 8, 1), classes=10, paper='[bold]x[/y]')\n"
        "def odd(input_shape, classes):\n"
        "    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),\n"
        "        keras.layers.Dense(classes, activation='softmax', name='a[b]')])\n"
    )
    status, out, err = outcome("show", f"{path}:odd")
    assert (status, err) == (0, "")
    assert "a[b]" in out
    assert "[bold]x[/y]" in out
    status, out, _ = outcome("list", f"{path}:odd")
    assert "[bold]x[/y]" in out
    assert Path(path).exists()
