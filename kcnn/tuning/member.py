"""What the process of a chief or a worker does."""

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
from kcnn.tuning.options import ENDED, REFUSED, Options
from kcnn.tuning.search import work


def serve(task: Path) -> int:
    """What a chief or worker does: the search of `task`, in the role that its environment says."""
    fields: dict[str, Any] = json.loads(task.read_text(encoding="utf-8"))
    fields["space"] = tuple(fields["space"])
    _end_with_parent(os.getppid())
    try:
        work(Options(**fields), os.environ["KERASTUNER_TUNER_ID"])
    except InputError as error:
        print(f"kcnn: {' '.join(str(error).split())}", file=sys.stderr)
        return REFUSED
    return ENDED


def _end_with_parent(parent: int) -> None:
    """End when the parent is gone, however it died: nobody would watch any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)  # checkpoints are whole at any time

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1])))
