"""What the process of a chief or a worker does.

It imports nothing of weight before it watches its parent: that may be killed at any time, and
nobody would know of the search that goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from kcnn.errors import InputError


def serve(task: Path, parent: int) -> int:
    """What a chief or worker does: the search of `task`, in the role that its environment says.

    Args:
        task: A file with the options.
        parent: Number of the process that started this one.
    """
    _end_with_parent(parent)
    from kcnn.tuning.options import ENDED, REFUSED, Options
    from kcnn.tuning.search import work

    fields: dict[str, Any] = json.loads(task.read_text(encoding="utf-8"))
    fields["space"] = tuple(fields["space"])
    try:
        work(Options(**fields), os.environ["KERASTUNER_TUNER_ID"])
    except InputError as error:
        print(f"kcnn: {' '.join(str(error).split())}", file=sys.stderr)
        return REFUSED
    return ENDED


def _end_with_parent(parent: int) -> None:
    """End when the parent is gone, however and whenever it died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)  # checkpoints are whole at any time

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1]), int(sys.argv[2])))
