"""The command that writes a run's network for another runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from kcnn.cli.command import Command


@dataclass(frozen=True)
class Export(Command):
    """Write a run's network for another runtime, and compare it there."""

    run_directory: Positional[Path]
    """A folder below logs."""
    format: Literal["savedmodel", "onnx", "litert", "openvino", "keras"] = "onnx"
    """Of which runtime the file is."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    """Of weights and arithmetic; int8 is calibrated on training images."""
    out: Path | None = None
    """The file; the default lies in the run's folder."""
    accept: bool = False
    """Keep an int8 network that loses more than a point of accuracy."""
    trust: str | None = None
    """The Python file or module of a task of your own, whose code may run here."""

    def run(self) -> None:
        """Write it, and print how far it is from the network."""
        from kcnn.runs.directory import load_run
        from kcnn.runs.exporting import export_run, table
        from kcnn.terminal import console

        run, terminal = load_run(self.run_directory, trust=self.trust), console()
        found = export_run(
            run, self.format, precision=self.precision, out=self.out, accept=self.accept,
            console=terminal,
        )  # fmt: skip
        terminal.print(table(found))
