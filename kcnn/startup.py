"""Keras and TensorFlow, loaded on first use and without TensorFlow's start-up messages.

Everything in kcnn takes them from here: `from kcnn.startup import keras, tf`.

TensorFlow 2.21 writes a dozen lines to file descriptor 2 from C++ while it is imported and
while it looks for devices: before its logger is initialised, so that `TF_CPP_MIN_LOG_LEVEL`
does not reach them. They are caught here and everything that is not known start-up noise is
written back. Checked on TensorFlow 2.21.0.
"""

import contextlib
import importlib
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kcnn.errors import InputError

_NOISE = re.compile(
    r"""
    ^WARNING:\ All\ log\ messages\ before\ absl::InitializeLog\(\)
    | ^[IW]\d{4}\ .*                       # absl: information and warnings
    | ^\d{4}-\d\d-\d\d\ [\d:.]+:\ [IW]\ .* # TensorFlow's own logger: the same
    | ^To\ enable\ the\ following\ instructions:
    | ^E\d{4}\ .*failed\ call\ to\ cuInit  # a machine without a usable NVIDIA driver
    | ^E\d{4}\ .*Unable\ to\ register\ cu\w+\ (factory|plugin)
    | ^\s*$
    """,
    re.VERBOSE,
)


def without_noise(text: str) -> str:
    """The lines of `text` that are not TensorFlow's start-up messages."""
    return "".join(line for line in text.splitlines(keepends=True) if not _NOISE.match(line))


def load() -> None:
    """Import Keras, and TensorFlow where it is the backend, and find the devices, in silence.

    Errors, and whatever else is written meanwhile, reach the standard error output. Does
    nothing when Keras is already imported: then its messages have been seen.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # later information messages (XLA's)
    with _interrupted_behind(), _filtered_stderr():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()  # the CUDA driver speaks on first use


def need_tensorflow(what: str) -> None:
    """Refuse what trains by TensorFlow where Keras has another backend.

    Args:
        what: Begins the sentence: `kcnn.train`.

    Raises:
        InputError: With what to do.
    """
    if (backend := keras.backend.backend()) != "tensorflow":
        raise InputError(
            f"{what} trains by TensorFlow, and the backend of Keras here is {backend!r}. Set the "
            f"environment's KERAS_BACKEND to tensorflow before Keras is imported. kcnn's networks "
            f"and callbacks work in Keras' own fit on every backend."
        )


@contextlib.contextmanager
def many_networks() -> Iterator[None]:
    """Within it TensorFlow does not warn of one function that is traced again and again.

    It tells functions apart by their source, which the steps of all networks share.
    """

    def other(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


@contextlib.contextmanager
def _interrupted_behind() -> Iterator[None]:
    """Raise a Ctrl-C when it is over: within C++ and half imported modules it becomes anything.

    A second one ends the process.
    """
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)

    try:
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            raise ValueError("somebody else's affair")
        signal.signal(signal.SIGINT, receive)
    except ValueError:  # or not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if received:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (AttributeError, OSError, ValueError):  # None or closed: nobody is listening
        yield
        return
    with tempfile.NamedTemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            with _shown_if_it_dies(caught.name, saved):
                yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            sys.stderr.write(without_noise(caught.read().decode(errors="replace")))
            sys.stderr.flush()


@contextlib.contextmanager
def _shown_if_it_dies(caught: str, stderr: int) -> Iterator[None]:
    """Show what was caught if the process does not outlive what is done here: an abort in C++.

    A shell waits for a word. The end of its input without one is the end of the process.
    """
    import subprocess  # here: `kcnn list` does without

    script = 'read -r word || { cat "$0" >&2; rm -f "$0"; }'
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", script, caught],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr,
        )  # fmt: skip
    except OSError:  # no shell, or no process any more: without
        yield
        return
    try:
        yield
    finally:
        shell.communicate(b"over\n")


def on_first_use(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names load when they are first asked for.

    Args:
        package: Its name.
        homes: By name, the module that defines it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        vars(sys.modules[package])[name] = value
        return value

    return find, lambda: sorted(homes)


class _OnFirstUse:
    """A module that is imported when one of its attributes is first asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        load()
        return getattr(importlib.import_module(self._module), name)


if TYPE_CHECKING:
    import keras
    import tensorflow as tf
else:
    keras = _OnFirstUse("keras")
    tf = _OnFirstUse("tensorflow")
