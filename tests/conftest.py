"""Shared fixtures: TensorFlow loads once and in silence, the real data where it is at hand."""

import os
from pathlib import Path

import pytest

from kcnn import startup

startup.load()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that KCNN_DATA names, with real data sets; without it the test skips."""
    folder = os.environ.get("KCNN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set KCNN_DATA to the folder that holds mnist.npz and others")
    return Path(folder).resolve()
