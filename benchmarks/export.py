"""Every network in every format, run where kcnn is not: python -m benchmarks.export [NETWORK...]

Each network as it is registered, with random weights and statistics of BatchNorm that are not
trivial, is written by `kcnn.export`; a process that cannot import kcnn loads the file by its own
runtime and runs 39 made-up images in batches of 1, 5 and 33. The differences are relative to the
largest output of Keras. Latencies are the medians of rounds in which the runtimes take turns, two
threads each; `keras` is the model in a traced function of TensorFlow. Needs the extra `export`;
about an hour on two cores for all networks, whose rows are written one by one to
`results/export.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import idle, number, report, saved

FILES = {
    "keras": "net.keras",
    "savedmodel": "net",
    "onnx": "net.onnx",
    "litert": "net.tflite",
    "openvino": "net.xml",
    "onnx float16": "half.onnx",
    "litert float16": "half.tflite",
    "openvino float16": "half.xml",
    "onnx int8": "small.onnx",
    "litert int8": "small.tflite",
}
_WIDE = [name for name in FILES if " " not in name]
_BATCHES = (1, 5, 33)
_ROUNDS = 5
_COLUMNS = ["network", "format", "MB", "difference", "same class", "ms, 1 image", "ms, 33 images"]


def make(network: str, work: Path) -> None:
    """Write all files of a network, and its own outputs."""
    import keras

    import kcnn

    model = kcnn.build(network)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            ends = zip((0.5, -0.3, -0.5, 0.5), (1.5, 0.3, 0.5, 2.0), strict=True)
            for weight, (low, high) in zip(layer.weights, ends, strict=True):
                weight.assign(rng.uniform(low, high, weight.shape))
    images = rng.uniform(0, 1, (sum(_BATCHES), *model.input_shape[1:])).astype("float32")
    np.save(work / "images.npy", images)
    first = np.cumsum((0, *_BATCHES))
    parts = [model.predict_on_batch(images[a:b]) for a, b in itertools.pairwise(first)]
    np.save(work / "outputs.npy", np.concatenate(parts))
    for name, file in FILES.items():
        form, _, precision = name.partition(" ")
        try:
            found = kcnn.export(model, work / file, format=form, precision=precision or "float32",
                                images=images[:8])  # fmt: skip
            print(json.dumps({"format": name, "size": found.size}), flush=True)
        except kcnn.InputError as error:
            print(json.dumps({"format": name, "refused": str(error)}), flush=True)


def seat(name: str, work: Path) -> None:
    """Load a file; answer each line `N ROUNDS` on standard input with seconds for N images."""
    import time

    sys.modules["kcnn"] = None  # type: ignore[assignment] # it cannot be imported
    run = _loaded(name.partition(" ")[0], str(work / FILES[name]))
    images = np.load(work / "images.npy")
    first = np.cumsum((0, *_BATCHES))
    parts = [run(images[a:b]) for a, b in itertools.pairwise(first)]
    np.save(work / f"{name}.npy", np.concatenate(parts))
    print("ready", flush=True)
    for line in sys.stdin:
        count, times = map(int, line.split())
        batch = images[-count:]
        run(batch)
        begin = time.perf_counter()
        for _ in range(times):
            run(batch)
        print((time.perf_counter() - begin) / times, flush=True)


def _loaded(form: str, path: str) -> Any:
    """As users of the runtime load and run it."""
    if form == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count()
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})[0]
    if form == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=os.cpu_count())
        given = interpreter.get_input_details()[0]["index"]
        taken = interpreter.get_output_details()[0]["index"]
        shape: list[tuple[int, ...]] = [()]

        def run(images: np.ndarray) -> np.ndarray:
            if shape[0] != images.shape:
                interpreter.resize_tensor_input(given, images.shape)
                interpreter.allocate_tensors()
                shape[0] = images.shape
            interpreter.set_tensor(given, images)
            interpreter.invoke()
            found: np.ndarray = interpreter.get_tensor(taken)
            return found

        return run
    if form == "openvino":
        import openvino

        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", hint)
        return lambda images: compiled(images)[0]
    import tensorflow as tf

    if form == "savedmodel":
        served = tf.saved_model.load(path)
        return lambda images: served.serve(images).numpy()
    import keras

    model = keras.models.load_model(path)
    traced = tf.function(lambda images: model(images, training=False), autograph=False)
    shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    function = traced.get_concrete_function(shape)
    return lambda images: function(tf.constant(images)).numpy()


def measured(network: str, work: Path) -> list[dict[str, Any]]:
    """A row for each format of a network."""
    command = [sys.executable, "-m", "benchmarks.export"]
    made = subprocess.run([*command, "--make", network, str(work)], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    said = [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]
    expected = np.load(work / "outputs.npy").astype("float64")
    seats, rows = {}, []
    for one in said:
        if "refused" in one:
            rows.append({"network": network, "format": one["format"], "refused": one["refused"]})
            continue
        name = one["format"]
        opened = subprocess.Popen([*command, "--seat", name, str(work)], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)  # fmt: skip
        assert opened.stdout is not None
        assert opened.stdout.readline() == "ready\n", f"{network} does not run as {name}"
        found = np.load(work / f"{name}.npy").astype("float64")
        same = found.argmax(-1) == expected.argmax(-1)
        rows.append({
            "network": network, "format": name, "size": one["size"],
            "relative": float(np.abs(found - expected).max() / np.abs(expected).max()),
            "agreement": float(same.mean()),
        })  # fmt: skip
        seats[name] = opened
    try:
        _time({name: one for name, one in seats.items() if name in _WIDE or "int8" in name}, rows)
    finally:
        for one in seats.values():
            one.kill()
            one.wait()
    return rows


def _time(seats: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Seconds of each, in turn."""
    busy = idle(patience=30.0)
    for count in (1, _BATCHES[-1]):
        seconds: dict[str, list[float]] = {name: [] for name in seats}
        times = dict.fromkeys(seats, 1)
        for turn in range(_ROUNDS + 1):
            for name, one in seats.items():
                one.stdin.write(f"{count} {times[name]}\n")
                one.stdin.flush()
                found = float(one.stdout.readline())
                if turn:  # the first is a warm-up, and says how many make a fifth of a second
                    seconds[name].append(found)
                else:
                    times[name] = max(1, min(200, round(0.2 / found)))
        for row in rows:
            if row["format"] in seconds:
                row[f"seconds_{count}"] = seconds[row["format"]]
                row["busy_before"] = busy


def cells(row: dict[str, Any]) -> dict[str, Any]:
    """With what the table shows."""
    if "refused" in row:
        return row | dict.fromkeys(_COLUMNS[2:], "") | {"difference": "refused"}
    shown = {
        "MB": number(row["size"] / 1e6),
        "difference": f"{row['relative']:.1e}",
        "same class": f"{row['agreement']:.0%}",
    }
    for count, title in ((1, "ms, 1 image"), (_BATCHES[-1], "ms, 33 images")):
        found = row.get(f"seconds_{count}")
        shown[title] = number(1e3 * statistics.median(found)) if found else ""
    return row | shown


def main() -> None:
    """Measure the networks asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--seat", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(given.make[0], Path(given.make[1]))
        return
    if given.seat:
        seat(given.seat[0], Path(given.seat[1]))
        return
    import kcnn

    known = [n for n in kcnn.list_models() if kcnn.card(n).task == "classification"]
    if unknown := set(given.networks) - set(known):
        parser.error(f"networks are {', '.join(known)}; received {', '.join(unknown)}")
    rows = saved("export")
    for network in given.networks or known:
        with tempfile.TemporaryDirectory() as work:
            new = [cells(row) for row in measured(network, Path(work))]
        rows = [row for row in rows if row["network"] != network] + new
        rows.sort(key=lambda row: known.index(row["network"]))
        report("export", "Networks in other runtimes", _COLUMNS, rows)


if __name__ == "__main__":
    main()
