"""What the devices of this machine are called."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from kcnn.startup import tf


def device_name() -> str:
    """The device that TensorFlow trains on: its first GPU, else the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        more = f" (1 of {len(gpus)})" if len(gpus) > 1 else ""
        return f"GPU: {details.get('device_name', gpus[0].name)}{more}"
    return f"CPU: {os.cpu_count()} cores"


def gpus() -> list[str]:
    """The GPUs that workers share, one each as long as there are enough."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu for gpu in given.split(",") if gpu]
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()


def processor_name() -> str:
    """What the processor calls itself."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
