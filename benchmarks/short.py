"""Short trainings in one process: python -m benchmarks.short [--windows N]

LeNet-5 on digits (1,294 images), three epochs in batches of 128, again and again with another
learning rate: `kcnn.train`, which keeps its compiled network and writes a run directory, against
building the same network anew and calling `fit`, which writes nothing. Two minutes.
"""

import argparse
import itertools
import sys
import tempfile
from typing import Any

from benchmarks.harness import contest
from benchmarks.harness.machine import report
from benchmarks.harness.seat import serve

_EPOCHS, _BATCH = 3, 128
_CONTENDERS = ("kcnn.train", "rebuild + fit")


def trainings(contender: str) -> None:
    """Sit down; a step is a training."""
    import kcnn
    from kcnn.startup import keras

    data, count = kcnn.load_data("digits"), itertools.count(1)
    mean, variance = float(data.train.images.mean()), float(data.train.images.var())

    def train(rate: float, logs: str) -> None:
        recipe = kcnn.Recipe(epochs=_EPOCHS, batch_size=_BATCH, learning_rate=rate, logs=logs)
        kcnn.train(recipe, data=data, verbose=False)

    def rebuild(rate: float, logs: str) -> None:
        first = [
            keras.layers.Resizing(32, 32),
            keras.layers.Normalization(mean=mean, variance=variance),
        ]
        model = kcnn.build("lenet5", input_shape=(8, 8, 1), preprocessing=first)
        model.compile(
            keras.optimizers.AdamW(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        model.fit(
            data.train.images, data.train.labels, batch_size=_BATCH, epochs=_EPOCHS, verbose=0,
            validation_data=(data.validation.images, data.validation.labels),
        )  # fmt: skip
        model.evaluate(data.test.images, data.test.labels, verbose=0)

    one = train if contender == "kcnn.train" else rebuild

    def run(steps: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as logs:
            for _ in range(steps):
                one(1e-3 + 1e-5 * next(count), logs)
        return {}

    serve(run, batch=1)


def main() -> None:
    """Ten trainings a window, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=3, help="of each contender")
    options = parser.parse_args()
    made = [
        contest.Contender(name, [sys.executable, "-m", "benchmarks.short", name])
        for name in _CONTENDERS
    ]
    entries = contest.contest(made, windows=options.windows, seconds=10.0)
    lines = [
        line
        | {
            "s a training": f"{1 / line['median_images_per_second']:.2f}",
            "the first": f"{line['first_step_seconds']:.2f}",
            "kcnn is ×": f"{line['ours_against_it']:.2f}",
        }
        for line in contest.rows(entries, against=_CONTENDERS[1])
    ]
    title = f"Trainings of LeNet-5 on digits, {_EPOCHS} epochs in batches of {_BATCH}"
    columns = ["contender", "s a training", "the first", "kcnn is ×"]
    busy, others = contest.disturbance(entries)
    notes = f"{options.windows} windows each, in turn; others took at most {others:.0%}."
    report("short", title, columns, lines, notes=notes, busy_before=busy)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] in _CONTENDERS:
        trainings(sys.argv[1])
    else:
        main()
