"""Bytes that a training can have, on a GPU and on the host."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

from kcnn.startup import tf


def memory() -> int:
    """Bytes that a training can have: of the first GPU that TensorFlow uses, else of the host."""
    if not tf.config.list_physical_devices("GPU"):
        return host_memory()
    if shutil.which("nvidia-smi"):  # TensorFlow does not say how much a GPU has
        query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        if found and found[0].isdecimal():
            return int(found[0]) * 2**20
    # What was in use at most is the best that public functions say of what there is.
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def host_memory() -> int:
    """Bytes of this machine's memory that the process can have, its limits considered."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [n for n in resource.getrlimit(resource.RLIMIT_AS) if n != resource.RLIM_INFINITY]
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (text := group.read_text().strip()).isdecimal():
        limits.append(int(text))
    return min(limits)
