"""Bytes that a training can have, on a GPU and on the host."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

from kcnn.startup import tf


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that there was no memory, also in the words of oneDNN."""
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return True
    return isinstance(error, tf.errors.OpError) and "could not create a primitive" in str(error)


def memory() -> int:
    """Bytes that a training can have: of the first GPU that TensorFlow uses, else of the host."""
    if not on_gpu():
        return host_memory()
    if shutil.which("nvidia-smi"):  # TensorFlow does not say how much a GPU has
        query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        if found and found[0].isdecimal():
            return int(found[0]) * 2**20
    # What was in use at most is the best that public functions say of what there is.
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def spare() -> int:
    """Bytes that a training which begins now can have, on the device that it runs on."""
    return memory() if on_gpu() else free_memory()


def on_gpu() -> bool:
    """Whether TensorFlow trains on a GPU here, whose memory is not the host's."""
    return bool(tf.config.list_physical_devices("GPU"))


def free_memory() -> int:
    """Bytes that this process can have of the host's memory now."""
    free = [host_memory()]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    page = os.sysconf("SC_PAGE_SIZE")
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _lines("/proc/self/statm")
    if limit != resource.RLIM_INFINITY and used:
        free.append(limit - int(used[0].split()[0]) * page)
    of_group = [_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current")]
    if all(lines and lines[0].isdecimal() for lines in of_group):
        # What files have left in memory is counted as used, and given back when it is asked for.
        stat = dict(line.split() for line in _lines("/sys/fs/cgroup/memory.stat"))
        cached = sum(int(stat.get(name, 0)) for name in ("inactive_file", "active_file"))
        free.append(int(of_group[0][0]) - int(of_group[1][0]) + cached)
    return max(min(free), 0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def host_memory() -> int:
    """Bytes of this machine's memory that the process can have, its limits considered."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [n for n in resource.getrlimit(resource.RLIMIT_AS) if n != resource.RLIM_INFINITY]
    group = _lines("/sys/fs/cgroup/memory.max")
    if group and group[0].isdecimal():
        limits.append(int(group[0]))
    return min(limits)
