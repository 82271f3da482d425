"""How much memory there is: of what trains, not of what happens to be in the machine."""

import resource
import stat

import tensorflow as tf

from kcnn.devices import memory as memory_module
from kcnn.devices.memory import free_memory, host_memory, memory


def test_a_gpu_that_tensorflow_does_not_use_does_not_count(tmp_path, monkeypatch):
    """A driver beside a TensorFlow for processors: training has the host's memory."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert memory() == host_memory()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert memory() == 81559 * 2**20


def test_a_limit_of_the_process_counts(monkeypatch):
    before = host_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda what: (before // 2, resource.RLIM_INFINITY))
    assert host_memory() == before // 2


def test_what_is_free_is_less_than_what_there_is_and_falls(monkeypatch):
    assert 0 < free_memory() <= host_memory()
    # Written here: what other processes of this machine take and give back would decide otherwise.
    files = {"/proc/meminfo": ["MemTotal: 9000 kB", "MemFree: 10 kB", "MemAvailable: 3000 kB"]}
    monkeypatch.setattr(memory_module, "_lines", lambda path: files.get(path, []))
    assert free_memory() == 3000 * 1024
    files["/proc/meminfo"][2] = "MemAvailable: 2000 kB"
    assert free_memory() == 2000 * 1024


def test_a_limit_of_the_process_counts_without_what_it_has(monkeypatch):
    with open("/proc/self/statm", encoding="utf-8") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limit = used + 10**8
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limit, resource.RLIM_INFINITY))
    assert free_memory() <= 10**8


def test_in_a_container_what_files_have_left_in_memory_is_free(monkeypatch):
    group = "/sys/fs/cgroup/memory."
    files = {
        f"{group}max": ["10000000"], f"{group}current": ["9000000"],
        f"{group}stat": ["anon 2000000", "inactive_file 4000000", "active_file 1000000"],
    }  # fmt: skip
    monkeypatch.setattr(memory_module, "_lines", lambda path: files.get(path, []))
    assert free_memory() == 6_000_000
    files[f"{group}max"] = ["max"]
    assert free_memory() > 10_000_000
