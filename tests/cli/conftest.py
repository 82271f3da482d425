"""Commands in this process."""

import pytest

from kcnn.cli.main import main


@pytest.fixture
def outcome(capfd):
    """Run a command in this process: its status, output and errors."""

    def call(*arguments):
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # the parser's own
            status = exit_.code
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return call
