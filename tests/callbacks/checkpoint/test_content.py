"""A checkpoint that somebody made up is passed over, in favour of the one before."""

import copy
import os
import shutil
import warnings

import numpy as np
import pytest
from oracles import strangers

import kcnn
from kcnn.callbacks.checkpoint.files import files_in, newest
from kcnn.storage import archive


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    strangers.go_on(folder, 2)
    assert len(files_in(folder)) == 2
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "checkpoints")


def newest_in(folder):
    return files_in(folder)[-1][1]


def passed_over(folder):
    """The newest one is damaged, and said to be; the one before is found."""
    older = files_in(folder)[0][1]
    with pytest.warns(UserWarning, match=f"{newest_in(folder).name}' is damaged.*goes on from"):
        path, found = newest(folder)
    assert path == older
    assert found["epoch"] == 1


CHANGES = {
    "no content": lambda c: [],
    "no version": lambda c: {**c, "training": None},
    "a version of 0": lambda c: {**c, "training": 0},
    "no variables": lambda c: {k: v for k, v in c.items() if k != "variables"},
    "lists of no arrays": lambda c: {**c, "variables": {**c["variables"], "model": [1.0]}},
    "a negative step": lambda c: {**c, "step": -1},
    "another count than its name": lambda c: {**c, "batch": 1},
    "another epoch than its name": lambda c: {**c, "epoch": c["epoch"] + 1},
    "a text for a flag": lambda c: {**c, "stopped": "yes"},
    "a callback without a name": lambda c: {**c, "callbacks": [[1, {}]]},
    "a callback without a state": lambda c: {**c, "callbacks": [["EarlyStopping"]]},
    "a history of texts": lambda c: {**c, "history": {"epoch": ["x"], "history": {}}},
    "no random state": lambda c: {**c, "random": {"python": (), "numpy": ()}},
    "a random state of others": lambda c: {
        **c, "random": {**c["random"], "python": (3, (1, 2, 3), None)}
    },
    "a generator that NumPy lacks": lambda c: {
        **c, "random": {**c["random"], "numpy": ("x", *c["random"]["numpy"][1:])}
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_content_that_is_none_is_passed_over(name, folder):
    path = newest_in(folder)
    archive.write(path, CHANGES[name](archive.read(path)))
    passed_over(folder)


def test_a_newer_version_is_refused_as_such(folder):
    path = newest_in(folder)
    archive.write(path, archive.read(path) | {"training": 3})
    with pytest.raises(kcnn.InputError, match="newer version of kcnn"):
        newest(folder)


def test_a_file_of_another_name_is_passed_over(folder):
    old, new = (path for _, path in files_in(folder))
    shutil.copy(old, new)
    passed_over(folder)


def test_what_is_no_file_is_passed_over(folder):
    path = newest_in(folder)
    for make in (os.mkfifo, os.mkdir):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
        make(path)
        passed_over(folder)


@pytest.mark.parametrize("name", [".probe", ".epoch-0003-step-000000.ckpt"])
def test_what_links_lead_to_stays_as_it_is(name, folder, tmp_path):
    """A training of somebody's own, in a directory of somebody else's."""
    target = tmp_path / "mine"
    target.write_text("years")
    (folder / name).symlink_to(target)
    strangers.go_on(folder, 3)
    assert target.read_text() == "years"


def refused(folder, change, match):
    path = newest_in(folder)
    content = copy.deepcopy(archive.read(path))
    change(content)
    archive.write(path, content)
    with pytest.raises(kcnn.InputError, match=match), warnings.catch_warnings():
        strangers.go_on(folder, 3)


def test_weights_of_another_type_are_refused(folder):
    def change(content):
        weights = content["variables"]["model"]
        weights[0] = weights[0].view("int32")

    refused(folder, change, "int32 there, float32 here")


def test_weights_of_another_shape_are_refused(folder):
    def change(content):
        content["variables"]["optimizer"][-1] = np.zeros((1, 1), "float32")

    refused(folder, change, r"shape \(1, 1\) there")


def test_a_state_cannot_replace_what_a_callback_does(folder):
    def change(content):
        content["callbacks"][0][1]["on_epoch_end"] = "text"

    refused(folder, change, "on_epoch_end is what it does, not what it knows")


def test_the_sound_one_goes_on(folder):
    strangers.go_on(folder, 3)
    assert files_in(folder)[-1][0] == (3, 0)
