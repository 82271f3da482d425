"""In a notebook the bar is a notebook's; one without widgets, and a file, get lines alone."""

import importlib.machinery
import io
import sys
import threading
import types
from typing import ClassVar

import pytest

from kcnn import terminal
from kcnn.callbacks import Progress
from kcnn.figures import Figure


class Output:
    """ipywidgets' Output, as far as rich uses it: what is displayed within it."""

    shown: ClassVar[list] = []
    within = threading.local()  # rich draws in a thread of its own, too

    def __enter__(self):
        self.within.now = True
        return self

    def __exit__(self, *error):
        self.within.now = False

    def clear_output(self, wait=False):
        pass

    def close(self):
        Output.shown.append("closed")


@pytest.fixture
def notebook(monkeypatch):
    """IPython and ipywidgets that keep what is displayed: in a widget, and below the cell."""
    below, Output.shown = [], []

    def display(*found):
        for one in found:
            if isinstance(one, Output):
                continue
            text = one._repr_mimebundle_([], [])["text/plain"]
            (Output.shown if getattr(Output.within, "now", False) else below).append(text)

    for name, content in {
        "IPython": {},
        "IPython.display": {"display": display},
        "ipywidgets": {"Output": Output},
    }.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return below


def trained(console):
    """What a training of two epochs of three steps tells."""
    progress = Progress(console, [Figure("accuracy", share=True)])
    progress.set_params({"epochs": 2, "steps": 3})
    progress.on_train_begin()
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for step in range(3):
            progress._shown = 0.0  # as if time went by
            progress.on_train_batch_end(step, {"loss": 0.5})
        progress._bars.refresh()
        figures = {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.6, "val_accuracy": 0.7}
        progress.on_epoch_end(epoch, figures | {"images_per_second": 10.0})
    progress.on_train_end()


def lines_of(text):
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_with_widgets_there_is_a_bar(notebook):
    trained(terminal.Terminal(force_jupyter=True, color_system=None))
    bars = "".join(Output.shown)
    assert "epoch 1/2" in bars
    assert "loss 0.5000" in bars
    assert Output.shown[-1] == "closed"
    assert lines_of("".join(notebook)) == ["epoch", "1/2", "2/2"]


def test_without_widgets_there_are_lines_and_no_warning(notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    trained(terminal.Terminal(force_jupyter=True, color_system=None))
    assert Output.shown == []
    assert lines_of("".join(notebook)) == ["epoch", "1/2", "2/2"]


def test_in_a_file_there_are_lines(notebook):
    out = io.StringIO()
    trained(terminal.Terminal(file=out, width=100))
    assert lines_of(out.getvalue()) == ["epoch", "1/2", "2/2"]
    assert (Output.shown, notebook) == ([], [])
