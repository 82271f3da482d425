"""Kills from outside, at random moments and in the middle of saves; every bit is the same.

`python -m benchmarks.soak` does the same for as long as one likes.
"""

import random

import pytest
from oracles import kills
from oracles.bits import assert_same_runs
from oracles.pictures import boxes_folder, masks_folder

from kcnn.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "bright.npz"
    kills.write_images(path)
    return path


@pytest.mark.parametrize("kind", ["swa", "frozen", "probe"])
def test_a_run_that_is_killed_ends_as_one_that_was_not(kind, images, tmp_path):
    options = {"epochs": 6, "every": "2"}
    assert main(kills.train_arguments(kind, images, tmp_path, "whole", **options)) == 0
    arguments = kills.train_arguments(kind, images, tmp_path, "killed", **options)
    course = kills.killed_and_resumed(
        arguments, tmp_path / "killed", random.Random(kind), kills=2, longest=0.3
    )
    assert course.kills == 2
    assert_same_runs(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("kind", kills.PICTURES)
def test_pictures_with_masks_and_boxes(kind, tmp_path):
    if kind == "detection":
        pytest.importorskip("faster_coco_eval", reason="needs the extra `detection`")
    folder = {"segmentation": masks_folder, "detection": boxes_folder}[kind]
    data = folder(tmp_path / "data", {"train": 12, "val": 3})
    options = {"epochs": 4, "every": "1"}
    assert main(kills.picture_arguments(kind, data, tmp_path, "whole", **options)) == 0
    arguments = kills.picture_arguments(kind, data, tmp_path, "killed", **options)
    course = kills.killed_and_resumed(
        arguments, tmp_path / "killed", random.Random(kind), kills=1, longest=0.3
    )
    assert course.kills == 1
    assert_same_runs(tmp_path / "killed", tmp_path / "whole")
