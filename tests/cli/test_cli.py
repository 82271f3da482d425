"""The command line as a user meets it: in a process of its own, or through `main`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kcnn.cli.main import main
from kcnn.startup import keras

KCNN = [sys.executable, "-m", "kcnn.cli.main"]


def run(*arguments, **options):
    return subprocess.run(
        [*KCNN, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False, **options,
    )  # fmt: skip


def test_help_names_the_commands(outcome):
    status, out, _ = outcome("--help")
    assert status == 0
    assert all(command in out for command in ("list", "show", "train", "evaluate", "predict"))
    assert outcome()[1] == out  # nothing asked: the same help


def test_list_and_help_load_neither_keras_nor_tensorflow():
    code = (
        "import sys; from kcnn.cli.main import main; main(['list']);"
        "bad = {'keras', 'tensorflow', 'numpy'} & set(sys.modules); assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_list_is_one_table_within_100_columns(outcome):
    status, out, _ = outcome("list")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 100
    row = next(line for line in out.splitlines() if "resnet34" in line)
    assert all(text in row for text in ("224×224×3", "21,797,672", "3.66 G", "87.2 MB", "He et"))
    assert "…" not in out


def test_list_by_pattern(outcome):
    _, out, _ = outcome("list", "vgg*")
    assert "vgg16" in out
    assert "resnet" not in out


def test_show(outcome):
    status, out, _ = outcome("show", "resnet34", "--options", "shortcut", "A")
    assert status == 0
    assert "21,623,848" in out
    assert "ResNet-18's count" in out
    status, out, _ = outcome("show", "mlp", "--input-shape", 1099, 733, 3)
    assert "2,416,712,010" in out
    assert "9.67 GB" in out


@pytest.mark.slow
def test_a_training_with_nothing_on_standard_error(tmp_path):
    """The whole first experience, in the form of text that a pipe receives."""
    # With the most operations: TensorFlow's notes of some of them come at the level of errors.
    done = run(
        "train", "lenet5", "--data", "digits", "--epochs", 2, "--logs", tmp_path / "läufe",
        "--augment", "crop-flip,rotation=5,erasing=0.1,randaugment=1:1",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
    assert all(
        text in done.stdout
        for text in (
            "61,706 parameters", "8×8 resized to 32×32×1 inside the model", "1/2", "2/2",
            "test accuracy", "images per second", "By class, the worst first",
            "tensorboard --logdir",
        )
    )  # fmt: skip
    directory = next((tmp_path / "läufe").iterdir())
    result = json.loads((directory / "result.json").read_text())
    assert f"{result['test_accuracy']:.2%}" in done.stdout

    again = run("evaluate", directory)
    assert again.returncode == 0
    assert again.stderr == ""
    assert f"{result['test_accuracy']:.2%}" in again.stdout

    image = tmp_path / "drei ü.png"
    Image.fromarray(np.zeros((20, 30, 3), "uint8")).save(image)
    named = run("predict", directory, image)
    assert named.returncode == 0
    assert named.stderr == ""
    assert "drei ü.png" in named.stdout
    assert "%" in named.stdout


@pytest.mark.slow
def test_a_file_that_imports_keras_first_is_no_noisier(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import keras\nimport kcnn\n\n"
        "@kcnn.register('mine', input_shape=(8, 8, 1), classes=10)\n"
        "def mine(input_shape, classes):\n"
        "    inputs = keras.Input(input_shape)\n"
        "    x = keras.layers.Flatten()(inputs)\n"
        "    return keras.Model(inputs, keras.layers.Dense(classes, 'softmax')(x))\n"
    )
    shown = run("show", f"{tmp_path / 'mine.py'}:mine")
    assert shown.stderr == ""
    assert "650" in shown.stdout  # 64 weights and a bias for each of 10 classes


#: What Python hands over, and what `kcnn resume` records.
NO_FLAGS = ("compiled", "rates")


def test_every_field_of_the_recipe_is_a_flag(outcome):
    import dataclasses

    from kcnn.recipes.recipe import Recipe

    _, out, _ = outcome("train", "--help")
    flags = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("model", *NO_FLAGS)]
    assert all(f"--{name.replace('_', '-')}" in out for name in flags)


@pytest.mark.slow
def test_options_reach_the_network(outcome, tmp_path):
    status, out, _ = outcome(
        "train", "mlp", "--epochs", 1, "--logs", tmp_path, "--options", "width", 7, "depth", 3
    )
    assert status == 0
    parameters = 64 * 7 + 7 + 7 * 7 + 7 + 7 * 10 + 10
    assert f"{parameters:,} parameters" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "lenet6"], "Did you mean 'lenet5'"),
        (["train", "--data", "digts"], "digits"),
        (["train", "--data", "nowhere/data.npz"], "nowhere/data.npz"),
        (["train", "--epochs", "0"], "epochs is a whole number from 1 up"),
        (["train", "--residual", "True"], "residual"),
        (["train", "--batch-size", "4000"], "1293 training images"),
        (["train", "--image-size", "8", "8"], "conv2"),
        (["train", "--epochz", "3"], "--epochz"),
        (["train", "--optimizer", "adagrad"], "adagrad"),
        (["train", "--options", "width", "3"], "width"),
        (["show", "resnet43"], "resnet"),
        (["show", "vgg16", "--input-shape", "16", "16", "3"], "pool5"),
        (["list", "nothing*"], "nothing"),
        (["list", "missing.py:*"], "missing.py"),
        (["evaluate", "no/such/run"], "no/such/run"),
        (["predict", "no/such/run", "image.png"], "no/such/run"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_ends_with_status_2_and_one_message(outcome, arguments, said):
    status, out, err = outcome(*arguments)
    assert status == 2
    assert said in out + err
    assert "Traceback" not in out + err


def test_debug_shows_the_traceback(outcome):
    status, _, err = outcome("train", "lenet6", "--debug")
    assert status == 2
    assert "Traceback" in err


@pytest.mark.slow
def test_own_networks_from_a_file(outcome, tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        "import keras, kcnn\n"
        "@kcnn.register('cli_tiny', input_shape=(8, 8, 1), classes=10, paper='mine')\n"
        "def tiny(input_shape, classes):\n"
        "    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),\n"
        "        keras.layers.Dense(classes, 'softmax')])\n"
    )
    status, out, _ = outcome("list", f"{source}:cli_*")
    assert status == 0
    assert "650" in out
    assert outcome("show", f"{source}:cli_tiny")[0] == 0
    trained = outcome("train", f"{source}:cli_tiny", "--epochs", 1, "--logs", tmp_path / "logs")
    assert trained[0] == 0


@pytest.mark.slow
def test_ctrl_c_ends_with_status_130_and_no_traceback(tmp_path):
    process = subprocess.Popen(
        [*KCNN, "train", "--epochs", "5000", "--name", "long", "--logs", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    weights = tmp_path / "long" / "checkpoints" / "best.weights.h5"
    deadline = time.monotonic() + 120
    while not weights.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert weights.exists()


def test_works_from_any_folder(tmp_path):
    done = run("list", cwd=tmp_path)
    assert done.returncode == 0
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.slow
def test_a_recipe_by_name_or_file_sets_the_defaults_and_flags_change_them(outcome, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"epochs": 7, "learning_rate": 0.25, "options": {"width": 16}}))
    for recipe in (["--recipe", file], [f"--recipe={file}"]):
        arguments = ["mlp", *recipe, "--epochs", 1, "--logs", tmp_path / "runs", "--name", "run"]
        assert outcome("train", *arguments)[0] == 0
        (made,) = (tmp_path / "runs").iterdir()
        kept = json.loads((made / "recipe.json").read_text())["recipe"]
        assert (kept["model"], kept["epochs"], kept["learning_rate"]) == ("mlp", 1, 0.25)
        assert kept["options"] == {"width": 16}
        shutil.rmtree(made)


def test_an_unknown_recipe_is_bad_input(outcome):
    status, _, err = outcome("train", "--recipe", "fsat")
    assert (status, "Did you mean 'fast'?" in err) == (2, True)


def test_the_version_with_all_that_a_result_depends_on(capsys):
    assert main(["--version"]) == 0
    short = capsys.readouterr().out
    assert main(["--version", "--verbose"]) == 0
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert short.split() == ["kcnn", found["kcnn"]]
    assert {"python", "keras", "tensorflow", "device", "processor", "backend"} <= found.keys()
    assert found["keras"] == keras.__version__
