"""What `precision="auto"` means here: by the machine, and by how much there is to compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcnn.errors import InputError
from kcnn.startup import tf

#: Multiply-accumulates of one image from which bfloat16 is faster on processors that have it.
#: Below, converting costs more than it saves.
_WORTH = 10_000_000

_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}


def resolve(precision: str | None, macs: int, own: str | None) -> tuple[Any, str]:
    """The policy that a recipe's `precision` means, and why, where that was to be found out.

    Args:
        precision: The recipe's.
        macs: Multiply-accumulates of one image.
        own: The policy in which a model of the user's own was built; None for kcnn's.

    Raises:
        InputError: Another precision than that of the user's own model.
    """
    if own is not None:
        if precision not in (None, own):
            raise InputError(
                f"The model was built in {own} and stays so; received precision={precision!r}. "
                f"Call keras.config.set_dtype_policy before you build it."
            )
        return own, ""
    return automatic(macs) if precision == "auto" else (precision or "float32", "")


def automatic(macs: int) -> tuple[str, str]:
    """A Keras precision policy, and the reason for it.

    Args:
        macs: Multiply-accumulates of one image.
    """
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        return for_gpu(details.get("compute_capability", (0, 0)))
    return for_cpu(_flags(), macs)


def for_gpu(capability: tuple[int, int]) -> tuple[str, str]:
    """By CUDA's compute capability: bfloat16 from 8.0 (Ampere), float16 from 7.0 (Volta)."""
    version = ".".join(map(str, capability))
    if capability >= (8, 0):
        return "mixed_bfloat16", f"compute capability {version} has bfloat16"
    if capability >= (7, 0):
        return "mixed_float16", f"compute capability {version} has float16, not bfloat16"
    return "float32", f"compute capability {version} is faster in no other"


def for_cpu(flags: set[str], macs: int) -> tuple[str, str]:
    """By the processor's instructions and the network's size."""
    found = sorted(flags & _INSTRUCTIONS)
    if not found:
        return "float32", "this processor has no bfloat16 instructions"
    if macs < _WORTH:
        return "float32", "the network is too small to gain from bfloat16"
    return "mixed_bfloat16", f"this processor has {', '.join(found)}"


def _flags() -> set[str]:
    """Instruction sets of this processor, where the kernel tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
