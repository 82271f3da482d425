"""What the scripts in `tuning/` share: flags, the search, and errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import tyro

from kcnn.errors import InputError
from kcnn.terminal import printable
from kcnn.tuning.options import Options
from kcnn.tuning.records import Found
from kcnn.tuning.search import tune


def script(space: Mapping[str, Any] | None = None, *, data: Any = None, **defaults: Any) -> Found:
    """Search as the flags of the command line say; they are the fields of `Options`.

    Args:
        space: Changes of the search space by name; `--space` changes it further.
        data: The script's own data in place of `--data`.
        **defaults: Of the flags, in place of those of `Options`.

    Raises:
        SystemExit: 2 and a message on bad input.
    """
    try:
        options = tyro.cli(Options, default=Options(**defaults))
        return tune(options, space=space, data=data)
    except InputError as error:
        print(printable(f"{sys.argv[0]}: {error}", lines=True), file=sys.stderr)
        raise SystemExit(2) from error
