"""Bytes that a training can have, on a GPU and on the host."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

from kcnn.startup import tf


def memory() -> int:
    """Bytes that this process can have: of the GPU, else of the machine, its limits considered."""
    if tf.config.list_physical_devices("GPU"):
        # What was in use at most is the best that public functions say of what there is.
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [n for n in resource.getrlimit(resource.RLIMIT_AS) if n != resource.RLIM_INFINITY]
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (text := group.read_text().strip()).isdecimal():
        limits.append(int(text))
    return min(limits)


def available() -> int:
    """Bytes of memory: of the first GPU where there is one, else of the machine."""
    if shutil.which("nvidia-smi"):  # TensorFlow does not say how much a GPU has
        query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        if found and found[0].isdecimal():
            return int(found[0]) * 2**20
    return memory()
