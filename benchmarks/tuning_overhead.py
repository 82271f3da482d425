"""What a search costs beyond training: kcnn.tune against stock KerasTuner, on the same trials.

    python -m benchmarks.tuning_overhead [--trials 10] [--epochs 2] [--repeats 3]

LeNet-5 on digits, in two searches: rates only (learning rate, momentum, weight decay: one
architecture), and architectures (dropout, BatchNorm and batch size vary, too). Each runs the same
trials, drawn once by kcnn, in

    stock    keras_tuner.RandomSearch over a model of the same layers, compiled with Keras' SGD, fit
             with its own callbacks (a checkpoint of the best epoch) and TensorBoard
    loop     the same model, built and fit in a plain loop: training, nothing else
    kcnn     kcnn.tune, with all that it writes: run directory, checkpoints, TensorBoard, records

Each search runs in a process of its own, in turn, `repeats` times; the table has the median of
seconds a trial, and the overhead beyond training alone, which neither builds nor traces: for Keras
a second `fit` of the same model; for kcnn what its own clock says of epochs (steps and validation)
in a second search of the same trials, which finds every trace.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.harness.machine import idle, report

RATES = ("optimizer=nesterov", "batch_size=32", "dropout=0.0", "batchnorm=false",
         "label_smoothing=0.0", "swa=false", "warmup=0.0", "schedule=constant")  # fmt: skip
ARCHITECTURES = ("optimizer=nesterov", "batch_size=32,64", "dropout=0.0,0.2,0.5",
                 "batchnorm=false,true", "label_smoothing=0.0", "swa=false", "warmup=0.0",
                 "schedule=constant")  # fmt: skip
SPACES = {"rates only": RATES, "architectures": ARCHITECTURES}
KINDS = ("stock", "loop", "kcnn")
ALONE = {"loop": "Keras' training alone", "kcnn": "kcnn's training alone"}


def drawn(rows, trials, epochs):
    """The values of kcnn's trials, by number."""
    from kcnn.figures import LOSS
    from kcnn.tuning import Options, space_of
    from kcnn.tuning.oracles import oracle
    from kcnn.tuning.space import quantized

    space = space_of("lenet5", rows, {}, (8, 8, 1))
    options = Options(trials=trials, epochs=epochs)
    asked = oracle(options, LOSS, space, lambda values: None, epochs)
    with tempfile.TemporaryDirectory() as folder:
        asked._set_project_dir(folder, "draws")
        found = []
        for index in range(trials):
            trial = asked.create_trial(f"tuner{index}")
            hp = space.declared()
            hp.values = quantized(space, trial.hyperparameters.values)
            found.append(space.choose(hp))
    return found


def network(values):
    """The same layers as kcnn's, behind the same resizing, compiled with Keras' own SGD."""
    import keras

    import kcnn

    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Resizing(32, 32)]
    made = kcnn.build(
        "lenet5", input_shape=(8, 8, 1), classes=10, preprocessing=layers,
        batchnorm=values["batchnorm"], dropout=values["dropout"],
    )  # fmt: skip
    optimizer = keras.optimizers.SGD(
        values["learning_rate"], values["momentum"], nesterov=True,
        weight_decay=values["weight_decay"],
    )  # fmt: skip
    made.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def fit(model, data, values, epochs, callbacks=()):
    return model.fit(
        data.train.images, data.train.labels, batch_size=values["batch_size"], epochs=epochs,
        validation_data=(data.validation.images, data.validation.labels), verbose=0,
        callbacks=list(callbacks),
    )  # fmt: skip


def stock(data, rows, trials, epochs, folder):
    """KerasTuner's RandomSearch; its n-th trial takes the n-th values."""
    import keras
    import keras_tuner

    values = drawn(rows, trials, epochs)
    started = time.perf_counter()

    class Given(keras_tuner.HyperModel):
        def build(self, hp):
            return network(values[hp.Int("trial", 0, trials - 1)])

        def fit(self, hp, model, *args, callbacks=(), **options):
            return fit(model, data, values[hp.get("trial")], epochs, callbacks)

    tuner = keras_tuner.RandomSearch(
        Given(), "val_accuracy", max_trials=trials, directory=folder, seed=1
    )
    board = keras.callbacks.TensorBoard(f"{folder}/board")
    tuner.search(callbacks=[board], verbose=0)
    done = [t for t in tuner.oracle.trials.values() if t.status == "COMPLETED"]
    return (time.perf_counter() - started) / len(done)


def loop(data, rows, trials, epochs, folder):
    """Build and fit; then how long the steps alone take, in a second fit of each model."""
    values, total, steps = drawn(rows, trials, epochs), 0.0, 0.0
    for one in values:
        started = time.perf_counter()
        model = network(one)
        fit(model, data, one, epochs)
        total += time.perf_counter() - started
        started = time.perf_counter()
        fit(model, data, one, epochs)
        steps += time.perf_counter() - started
    return total / trials, steps / trials


def ours(data, rows, trials, epochs, folder):
    from kcnn.tuning import Options, tune

    options = Options(
        model="lenet5", trials=trials, epochs=epochs, space=rows, winner=False, logs=folder
    )
    started = time.perf_counter()
    tune(options, data=data, verbose=False)
    total = time.perf_counter() - started
    again = tune(dataclasses.replace(options, name="again"), data=data, verbose=False)
    return total / trials, statistics.fmean(trial.seconds for trial in again.trials)


def measure(kind, rows, trials, epochs):
    """One search, in this process, which is new."""
    import keras_tuner  # noqa: F401 - loaded before the clock starts, for all

    import kcnn
    from kcnn import startup

    startup.load()
    data = kcnn.load_data("digits")
    with tempfile.TemporaryDirectory() as folder:
        run = {"stock": stock, "loop": loop, "kcnn": ours}[kind]
        print(json.dumps(run(data, rows, trials, epochs, folder)))


def child(kind, name, arguments):
    command = [sys.executable, "-m", "benchmarks.tuning_overhead", "--child", kind, name,
               "--trials", str(arguments.trials), "--epochs", str(arguments.epochs)]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SystemExit(found.stderr)
    return json.loads(found.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        kind, name = arguments.child
        measure(kind, SPACES[name], arguments.trials, arguments.epochs)
        return
    found = {name: measured(name, arguments) for name in SPACES}
    rows = []
    for name, kinds in found.items():
        middle = {kind: statistics.median(values) for kind, values in kinds.items()}
        for kind in KINDS:
            seconds, training = middle[kind], middle[ALONE["kcnn" if kind == "kcnn" else "loop"]]
            rows.append({
                "search": name,
                "tuner": kind,
                "s a trial": f"{seconds:.2f}",
                "training alone": f"{training:.2f}",
                "beyond training": f"{seconds - training:.2f}",
                "stock / it": f"{middle['stock'] / seconds:.1f}",
            })  # fmt: skip
    title = f"{arguments.trials} trials of LeNet-5 on digits, {arguments.epochs} epochs each"
    report(
        "tuning_overhead", title, list(rows[0]), rows,
        notes=f"Medians of {arguments.repeats} searches of each, in turn.", seconds_a_trial=found,
    )  # fmt: skip


def measured(name, arguments):
    """Seconds a trial by kind, each `repeats` times; the kinds take turns."""
    found = {kind: [] for kind in (*KINDS, *ALONE.values())}
    for _ in range(arguments.repeats):
        for kind in KINDS:
            idle()
            seconds = child(kind, name, arguments)
            if kind != "stock":
                seconds, alone = seconds
                found[ALONE[kind]].append(alone)
            found[kind].append(seconds)
    return found


if __name__ == "__main__":
    main()
