"""Trainings by the command line, killed from outside, resumed until they are done."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Everything random that a training can have, on a network and images that take milliseconds.
FLAGS = {
    "nesterov": "--optimizer nesterov --mixup 0.2",
    "adamw": "--optimizer adamw --weight-decay 0.1 --cutmix 1.0",
    "swa": "--optimizer momentum --swa-start 0.5 --swa-learning-rate 0.005",
    "ema": "--optimizer nesterov --ema 0.95 --label-smoothing 0.1",
    "frozen": "--optimizer momentum --freeze backbone --unfreeze-at 0.5 --backbone-rate 0.1 "
    "--swa-start 0.6",
    "probe": "--optimizer momentum --freeze backbone --augment none",
    "stopping": "--optimizer adam --early-stopping 40 --schedule constant --warmup 0",
}
_COMMON = (
    "resnet20 --options depths 1, widths 8, --dropout 0.3 --augment crop-flip --batch-size 8 "
    "--learning-rate 0.02 --epochs {epochs} --seed 3 --steps-per-execution 2 "
    "--checkpoint-every {every}"
)
_COMMAND = "import sys; from kcnn.cli.main import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class Course:
    """What it took to finish a run."""

    kills: int = 0
    resumes: int = 0
    in_saves: int = 0  #: kills while a file was half written


def write_images(path: Path, images: int = 128, size: int = 16) -> None:
    """Images (N, H, W, 3) of three classes that differ in brightness, as an .npz file."""
    rng = np.random.default_rng(0)
    labels = np.arange(images + 24) % 3
    pixels = rng.integers(0, 128, (len(labels), size, size, 3)) + 40 * labels[:, None, None, None]
    pixels = pixels.astype("uint8")
    np.savez(
        path,
        x_train=pixels[:images], y_train=labels[:images],
        x_test=pixels[images:], y_test=labels[images:],
    )  # fmt: skip


#: The other tasks, with random windows and scales.
PICTURES = {
    "segmentation": "unet --options width 4 depth 1 --batchnorm True --swa-start 0.5",
    "detection": "fcos --backbone resnet18 --options width 4 channels 8 depth 1 strides 4,8 "
    "--ema 0.9",
}
_OF_PICTURES = (
    "--image-size 32 32 --batch-size 4 --learning-rate 0.01 --epochs {epochs} --seed 3 "
    "--checkpoint-every {every}"
)


def picture_arguments(
    kind: str, data: Path, logs: Path, name: str, epochs: int, every: str
) -> list:
    """Arguments of `kcnn train` for pictures with masks or boxes."""
    flags = f"{PICTURES[kind]} {_OF_PICTURES.format(epochs=epochs, every=every)}".split()
    return ["train", *flags, "--data", str(data), "--logs", str(logs), "--name", name]


def train_arguments(kind: str, data: Path, logs: Path, name: str, epochs: int, every: str) -> list:
    """Arguments of `kcnn train`."""
    common = _COMMON.format(epochs=epochs, every=every)
    if "--augment" in FLAGS[kind]:
        common = common.replace("--augment crop-flip ", "")
    flags = f"{common} {FLAGS[kind]}".split()
    places = ["--data", str(data), "--logs", str(logs), "--name", name]
    return ["train", *flags, *places]


def finish(arguments: list[str]) -> None:
    """Run a command of kcnn to its end, which has to be a good one."""
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)


def killed_and_resumed(
    arguments: list[str], run: Path, rng: random.Random, kills: int, longest: float
) -> Course:
    """Train, kill -9 up to `kills` times at random moments, resume, until the run is finished.

    Every other kill comes when a checkpoint is half written; the others up to `longest` seconds
    after the first sign of the training.
    """
    course = Course()
    while not (run / "result.json").is_file():
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if course.kills < kills:
            in_save = course.kills % 2 == 1
            if _wait(process, run, rng, longest, in_save):
                halves = list((run / "checkpoints").glob(".epoch-*"))
                process.send_signal(signal.SIGKILL)
                course.kills += 1
                course.in_saves += bool(halves) and in_save
        errors = process.communicate()[1]
        assert process.returncode in (0, -signal.SIGKILL), errors
        if (run / "recipe.json").is_file():
            arguments = ["resume", str(run)]
            course.resumes += not (run / "result.json").is_file()
    return course


def _wait(
    process: subprocess.Popen, run: Path, rng: random.Random, longest: float, in_save: bool
) -> bool:
    """Until it is time to kill; False where the process has ended by itself."""
    folder, before = run / "checkpoints", _position(run)
    while _position(run) == before:  # imports, tracing
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    deadline = time.monotonic() + rng.uniform(0, longest)
    while time.monotonic() < deadline or (in_save and not list(folder.glob(".epoch-*"))):
        if process.poll() is not None:
            return False
        time.sleep(0 if in_save else 0.005)
    return True


def _position(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("epoch-*.ckpt"))


def result(run: Path) -> dict:
    """The run's result."""
    return json.loads((run / "result.json").read_text())
