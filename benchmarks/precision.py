"""What 16 bits gain, and what they cost: python -m benchmarks.precision [--seeds N]

Training steps in float32 and with `precision="mixed_bfloat16"`, in turn, and what `precision=
"auto"` chooses; then the recipe "fast" on Fashion-MNIST in both, seed by seed (needs KCNN_DATA).
Ten minutes on two cores.
"""

import argparse
import json
import statistics
import sys
from typing import Any

from benchmarks.harness import contest
from benchmarks.harness.machine import gpu, number, report, spread
from benchmarks.harness.rows import ROWS
from benchmarks.time_to_accuracy import training

_ROWS = ("lenet5-28", "resnet20-32", "resnet34-32", "alexnet-227", "resnet34-224", "vgg16-32")
_POLICIES = ("float32", "mixed_bfloat16")


def speed(name: str, windows: int, seconds: float) -> dict[str, Any]:
    """One network's line."""
    from kcnn.devices.precision import automatic

    row = ROWS[name]
    batch, images = (row.gpu_batch, 8 * row.images) if gpu() else (row.batch, row.images)
    sizes = [str(batch), str(images - images % batch)]
    command = [sys.executable, "-m", "benchmarks.contenders.keras_step", name, "kcnn", *sizes]
    made = [contest.Contender(policy, [*command, policy]) for policy in _POLICIES]
    entries = contest.contest(made, windows=windows, seconds=seconds)
    contest.check(entries)
    single, half = contest.rows(entries, against=_POLICIES[0])
    return {
        "row": name,
        "MACs": number(entries[0].facts["macs"] / 1e6) + " M",
        "float32": number(single["median_images_per_second"]),
        "bfloat16": number(half["median_images_per_second"]),
        "bfloat16 is ×": f"{half['ratio']:.2f}",
        "auto": automatic(entries[0].facts["macs"])[0],
        "contenders": [single, half],
    }


def accuracy(seeds: int) -> list[dict[str, Any]]:
    """Test accuracy of the recipe "fast" in both precisions."""
    runs: dict[str, list[dict[str, Any]]] = {policy: [] for policy in _POLICIES}
    for seed in range(seeds):
        for policy, done in runs.items():
            done.append(training(json.dumps({"precision": policy}), seed, 0))
    return [
        {
            "precision": policy,
            "n": seeds,
            "test accuracy %": spread([100 * run["accuracies"][-1] for run in done]),
            "seconds": f"{statistics.median(run['seconds'][-1] for run in done):.1f}",
            "runs": done,
        }
        for policy, done in runs.items()
    ]


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=3, help="of each contender")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a window")
    options = parser.parse_args()
    columns = ["row", "MACs", "float32", "bfloat16", "bfloat16 is ×", "auto"]
    lines = [speed(name, options.windows, options.seconds) for name in _ROWS]
    report("precision", "Training, images per second", columns, lines)
    columns = ["precision", "n", "test accuracy %", "seconds"]
    title = 'Fashion-MNIST by the recipe "fast"'
    report("precision-accuracy", title, columns, accuracy(options.seeds))


if __name__ == "__main__":
    main()
