"""What two trainings have to have in common, to the bit."""

import json

import keras
import numpy as np

from kcnn.callbacks.checkpoint.files import newest

#: What clocks say differs between any two runs.
CLOCKS = {"seconds", "images_per_second", "total", "seconds_per_epoch"}


def assert_same(ours, theirs, where="", skip=CLOCKS):
    """Trees of plain values and arrays are equal, to the bit."""
    if isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype, where
        assert ours.tobytes() == theirs.tobytes(), f"{where}: {np.abs(ours - theirs).max()}"
    elif isinstance(ours, dict):
        assert ours.keys() - skip == theirs.keys() - skip, where
        for key in ours.keys() - skip:
            assert_same(ours[key], theirs[key], f"{where}.{key}", skip)
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_same(*pair, f"{where}[{index}]", skip)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), (where, ours, theirs)


def assert_same_runs(ours, theirs):
    """Two finished run directories hold the same training."""
    states = [newest(run / "checkpoints")[1] for run in (ours, theirs)]
    assert_same(*states, "checkpoint")
    results = [json.loads((run / "result.json").read_text()) for run in (ours, theirs)]
    assert_same(*results, "result")
    for path in sorted(theirs.glob("*.keras")):
        pair = [keras.saving.load_model(run / path.name).get_weights() for run in (ours, theirs)]
        assert_same(*pair, path.name)
    tables = [(run / "metrics.csv").read_text().splitlines() for run in (ours, theirs)]
    assert_same(*(_rows(table) for table in tables), "metrics.csv")


def _rows(lines):
    names = lines[0].split(",")
    return [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
