"""What type checkers see of kcnn: the lazy names, with their arguments."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GOOD = """
import kcnn

recipe = kcnn.Recipe(model="resnet20", epochs=3, learning_rate=0.1, schedule="cosine")
data: kcnn.Data = kcnn.load_data("digits")
model = kcnn.build("resnet34", name="body", input_shape=(None, None, 3), include_top=False)
count: int = kcnn.card("lenet5").parameters
names: list[str] = kcnn.list_models("resnet*")

def train() -> float:
    run = kcnn.train(recipe, verbose=False)
    return run.test_metrics["loss"] + run.recipe.epochs

@kcnn.register("tiny", input_shape=(8, 8, 1), classes=3)
def tiny(input_shape: tuple[int, int, int], classes: int = 3) -> object: ...

batches = kcnn.data.training_batches(data.train, 4, classes=10, seed=0)
average = kcnn.callbacks.StochasticWeightAveraging(start=0.75)
found = kcnn.tune(kcnn.tuning.Options(trials=3))
try:
    kcnn.load_run("logs/run")
except kcnn.InputError as error:
    print(error)
"""

BAD = """
import kcnn

kcnn.Recipe(epochs="five")
kcnn.Recipe(schedule="steep")
kcnn.bild("resnet34")
kcnn.build("resnet34", classes="ten")
kcnn.data.training_batches("digits", 4)
kcnn.tuning.Options(trials="many")
"""


@pytest.mark.slow
def test_a_program_is_right_and_faults_are_seen(tmp_path):
    """Both in one run of mypy, which reads all of kcnn: less where `make lint` has been there."""
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", tmp_path / "cache")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "mypy.ini"]
    done = subprocess.run(
        [*command, "--cache-dir", "cache", "good.py", "bad.py"], cwd=tmp_path, check=False,
        capture_output=True, text=True, env={"MYPYPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    places = [line.split(":") for line in done.stdout.splitlines() if ": error:" in line]
    assert {file for file, *_ in places} == {"bad.py"}, done.stdout + done.stderr
    assert sorted({int(line) for _, line, *_ in places}) == [4, 5, 6, 7, 8, 9]
    assert "checked 2 source files" in done.stdout


def test_the_marker_is_there():
    assert (ROOT / "kcnn" / "py.typed").is_file()
    assert "kcnn = py.typed" in (ROOT / "setup.cfg").read_text()
