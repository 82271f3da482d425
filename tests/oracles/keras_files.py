"""`.keras` files, taken apart and put together otherwise."""

import io
import json
import os
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kcnn
from kcnn.storage.load_model import load_model

WEIGHTS = "model.weights.h5"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path, parts, compression=zipfile.ZIP_STORED):
    """Write a zip archive whose checksums are right."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def with_config(path, saved, config):
    text = config if isinstance(config, (str, bytes)) else json.dumps(config)
    return packed(path, members(saved) | {"config.json": text})


def with_weights(path, saved, change):
    """A copy in whose HDF5 file `change` did its work."""
    parts = members(saved)
    buffer = io.BytesIO(parts[WEIGHTS])
    with h5py.File(buffer, "r+") as root:
        change(root)
    return packed(path, parts | {WEIGHTS: buffer.getvalue()})


def refused(path, match):
    with pytest.raises(kcnn.InputError, match=match) as caught:
        load_model(path)
    assert "Cannot load" in str(caught.value)
    assert os.path.basename(str(path)) in str(caught.value)
    assert len(str(caught.value)) < 1200
    return str(caught.value)


def same(model, again):
    assert len(model.weights) == len(again.weights)
    for expected, actual in zip(model.weights, again.weights, strict=True):
        assert expected.dtype == actual.dtype
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(expected), keras.ops.convert_to_numpy(actual)
        )


def functional(*layers, shape=(6,), **options):
    x = first = keras.Input(shape, **options)
    for layer in layers:
        x = layer(x)
    return keras.Model(first, x)
