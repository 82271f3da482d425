"""The README is true: its tables are the registry's, its examples run."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.models.registry import lookup
from kcnn.terminal import shape_text, si

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def figures(text):
    """The numbers of a text; those of names such as AP50 are none."""
    return set(re.findall(r"(?<![A-Za-z\d.,])\d[\d,]*(?:\.\d+)?", text))


def among(figure, numbers):
    """Whether one of the numbers is it, as far as it is rounded."""
    value = float(figure.replace(",", ""))
    half = 0.5000001 * 10.0 ** -len(figure.partition(".")[2])
    return any(abs(value - number) <= half for number in numbers)


def ratio(figure, others):
    """Whether it is one number of the row divided by another, of which each is rounded."""
    value, numbers = float(figure.replace(",", "")), [float(o.replace(",", "")) for o in others]
    quotients = [a / b for a in numbers for b in numbers if b]
    return any(abs(value - quotient) <= max(0.05, 0.03 * value) for quotient in quotients)


MEASURED = re.findall(r"<!-- ([\w -]+) -->\n((?:\|.*\n)+)", README)


@pytest.mark.parametrize(("names", "table"), MEASURED, ids=[names for names, _ in MEASURED])
def test_measured_tables_are_what_was_measured(names, table):
    """Each row's figures are in one row of `benchmarks/results/`, or in rows of one name there."""
    groups = {}
    for name in names.split():
        results = ROOT / f"benchmarks/results/{name}.json"
        content = json.loads(results.read_text(encoding="utf-8")).values()
        for row in (row for rows in content if isinstance(rows, list) for row in rows):
            group = name if " " in names else next(iter(row.values()))
            texts = (str(value) for value in row.values() if not isinstance(value, list | dict))
            found = {float(f.replace(",", "")) for text in texts for f in figures(text)}
            groups.setdefault(group, set()).update(found)
    lines = table.splitlines()[2:]
    assert lines
    for line in lines:
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        wanted = set[str]().union(*(figures(cell) for cell in cells))
        missing = ({f for f in wanted if not among(f, group)} for group in groups.values())
        best = min(missing, key=len)
        if " " in names:  # ratios between rows
            best = {f for f in best if not ratio(f, wanted - {f})}
        assert best == set(), first


def test_measured_tables_say_where_from():
    """A table with measured figures names the results that they are of."""
    named = {table.splitlines()[0] for _, table in MEASURED}
    for table in re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE):
        head, _, *rows = table.splitlines()
        measured = any(re.search(r"\d\.\d", cell) for row in rows for cell in row.split("|")[2:])
        assert head in named or head.startswith("| name | input") or not measured, head


#: Those that need the extra `export` have a process of their own.
EXPORTS = pytest.mark.parametrize("exports", [False, pytest.param(True, marks=pytest.mark.export)])


@pytest.mark.slow
@EXPORTS
def test_python_examples_run(exports, tmp_path, monkeypatch):
    if exports:
        pytest.importorskip("onnxruntime", reason="needs the extra `export`")
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
    assert len(found) == 6
    found = [block for block in found if "pets.onnx" not in block]  # behind commands: below
    if exports:  # and what trains the run that they export
        found = [block for block in found if "run = " in block or "onnxruntime" in block]
    else:
        found = [block for block in found if "onnxruntime" not in block]
    for block in found:
        exec(compile(block, "README.md", "exec"), names)
    assert names["run"].result["test_accuracy"] > 0.95
    assert exports or names["card"].parameters == 138_357_544


@pytest.fixture
def example_files(tmp_path, digits_run):
    """What the README's commands name: a run, an image, a file with a network."""
    from PIL import Image

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "RUN").symlink_to(digits_run.directory)
    shutil.copytree(digits_run.directory, tmp_path / "logs" / "OTHER")
    Image.fromarray(np.zeros((8, 8), "uint8")).save(tmp_path / "photo.jpg")
    own = next(block for block in blocks("python") if "@kcnn.register" in block)
    (tmp_path / "my_models.py").write_text(own.replace('kcnn.build("tiny"', '# kcnn.build("tiny"'))
    return tmp_path


@pytest.mark.slow
@EXPORTS
def test_commands_run(exports, example_files, monkeypatch, capsys):
    if exports:
        pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    from kcnn.cli.main import main

    monkeypatch.chdir(example_files)
    commands = [
        line.partition("#")[0].strip()
        for block in blocks("sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands += re.findall(r"`(kcnn (?:train|list|show) [^`]*\.py[^`]*)`", README)
    # Minutes each, even for an epoch; `benchmarks.segment_detect` trains them.
    download = ["cifar10", "--data pets", "--data bccd", "--recipe transfer", "predict vgg16",
                "kcnn style", "logs/pets", "pets.onnx"]  # fmt: skip
    if not os.environ.get("KCNN_DATA"):
        download.append("--recipe fast")
    commands = [c for c in commands if not any(name in c for name in download)]
    ours = [shlex.split(c) for c in commands if c.startswith("kcnn ")]
    ours = [command for command in ours if (command[1] == "export") == exports]
    assert len(ours) >= (1 if exports else 7)
    for command in ours:
        arguments = [word for word in command[1:] if word != "..."]
        if arguments[0] == "train":
            arguments += ["--epochs", "1"]
        if arguments[0] == "tune":
            arguments += ["--epochs", "1", "--trials", "2"]
        if arguments[0] == "resume" and "--epochs" in arguments:
            arguments[arguments.index("--epochs") + 1] = "2"
        assert main(arguments) == 0, (command, capsys.readouterr())


@pytest.mark.slow
@pytest.mark.export
def test_from_few_pictures_to_another_runtime(tmp_path, monkeypatch, capsys):
    """The commands and lines of "Trained weights", with a narrow network and weights of ours."""
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    from PIL import Image

    from kcnn.cli.main import main

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        for k, name in enumerate(("dark cats", "bright dogs")):
            (tmp_path / "FOLDER" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 60, (80, 70, 3), np.uint8) + np.uint8(160 * k)
                Image.fromarray(pixels).save(tmp_path / "FOLDER" / part / name / f"{index}.png")
    Image.fromarray(np.full((90, 90, 3), 190, np.uint8)).save("photo.jpg")
    narrow = {"widths": (4, 6, 8, 8)}
    weights = kcnn.build("resnet50", input_shape=(64, 64, 3), stem="imagenet", **narrow)
    weights.save("weights.keras")
    block = next(block for block in blocks("sh") if "pets.onnx" in block)
    for line in block.splitlines():
        command = shlex.split(line)[1:]
        if command[0] == "train":
            command += ["--weights", "weights.keras", "--preprocessing", "torch", "--image-size",
                        "64", "64", "--options", "widths", "4,6,8,8", "--stem", "imagenet",
                        "--epochs", "2", "--learning-rate", "0.05"]  # fmt: skip
        assert main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr().out.splitlines()[-1]
    python = next(block for block in blocks("python") if "pets.onnx" in block)
    exec(compile(python, "README.md", "exec"), {})
    named = capsys.readouterr().out.strip()
    assert named in ("dark cats", "bright dogs")
    assert named in said
