"""TensorFlow's start-up messages stay out of the terminal, and errors come through."""

import os
import signal
import subprocess
import sys

import pytest

from kcnn.startup import _filtered_stderr, load, without_noise

NOISE = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795483501.541367    7225 port.cc:153] a feature is on
W0000 00:00:1795483501.541367    7225 a.cc:1] a feature is off
I1124 01:36:03.541367    7225 cpu_feature_guard.cc:227] This binary is optimized
To enable the following instructions: AVX2 FMA, rebuild with the appropriate compiler flags.
2026-11-24 01:36:03.123456: I tensorflow/core/util/port.cc:153] information
2026-11-24 01:36:03.123456: W tensorflow/core/util/port.cc:153] a warning
E0000 00:00:1795483504.734250    7225 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR
E0000 00:00:1795483504.734250    7225 a.cc:1] Unable to register cuDNN factory: registered before

"""
SIGNAL = """\
E0000 00:00:1795483504.734250    7225 loader.cc:52] library libx.so not found
2026-11-24 01:36:03.123456: E tensorflow/core/a.cc:1] out of memory
F0000 00:00:1795483504.734250    7225 a.cc:1] Check failed
RuntimeError: this module was compiled for another NumPy
I am a line that only begins like information
  W0000 an indented quotation
the last line, without its end"""

#: A stand-in for Keras: it speaks on file descriptor 2 as TensorFlow does, from below Python.
KERAS = """
import contextlib, os
with contextlib.suppress(OSError):  # C code does not notice that nobody listens
    os.write(2, os.environb[b"SPOKEN"])
if b"FAIL" in os.environb:
    raise ImportError("libtensorflow is damaged")
if "ABORT" in os.environ:
    os.abort()
class backend:
    backend = staticmethod(lambda: "another")
"""


def test_noise_goes_and_everything_else_stays():
    assert without_noise(NOISE) == ""
    assert without_noise(SIGNAL) == SIGNAL
    for line in SIGNAL.splitlines():
        assert without_noise(f"{NOISE}{line}\n{NOISE}") == f"{line}\n"


@pytest.fixture
def with_stand_in(tmp_path):
    """Runs code in a process where `keras` is the stand-in."""
    (tmp_path / "keras.py").write_text(KERAS)

    def run(code, spoken, shell="", **variables):
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "SPOKEN": spoken} | variables
        command = ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, code]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_what_is_said_in_c_during_loading_is_filtered(with_stand_in):
    code = "from kcnn import startup; startup.load(); import os; os.write(2, b'I0000 later')"
    run = with_stand_in(code, NOISE + SIGNAL)
    assert run.returncode == 0
    assert run.stderr == SIGNAL + "I0000 later"  # only loading is filtered
    assert run.stdout == ""


def test_a_failure_while_loading_shows_all_that_was_said(with_stand_in):
    run = with_stand_in("from kcnn import startup; startup.load()", NOISE + SIGNAL, FAIL="1")
    assert run.returncode == 1
    assert run.stderr.startswith(SIGNAL)
    assert run.stderr.endswith("ImportError: libtensorflow is damaged\n")
    assert "port.cc:153] a feature is on" not in run.stderr


def test_an_abort_while_loading_shows_what_was_said(with_stand_in, tmp_path):
    """TensorFlow on a processor without its instructions: a line from C++, and no Python more."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    code = "from kcnn import startup; startup.load()"
    run = with_stand_in(code, SIGNAL, ABORT="1", TMPDIR=str(temporary))
    assert run.returncode == -signal.SIGABRT
    assert run.stderr == SIGNAL
    assert not list(temporary.iterdir())


def test_loading_needs_no_shell(monkeypatch, capfd):
    def none(*arguments, **options):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "Popen", none)
    with _filtered_stderr():
        os.write(2, f"{NOISE}said\n".encode())
    assert capfd.readouterr().err == "said\n"


@pytest.mark.parametrize("spoken", ["", NOISE, SIGNAL])
def test_a_closed_stderr_is_nobody_listening(with_stand_in, spoken):
    code = "from kcnn import startup; startup.load(); print('loaded')"
    run = with_stand_in(code, spoken, shell="2>&-")
    assert (run.returncode, run.stdout) == (0, "loaded\n")


def test_what_is_loaded_already_is_left_alone(capfd):
    load()  # conftest has loaded
    assert tuple(capfd.readouterr()) == ("", "")


def test_building_says_nothing(tmp_path):
    code = "import kcnn; kcnn.build('lenet5')"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
