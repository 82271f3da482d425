"""The benchmarks' harness: its protocol with contenders that only sleep, and its arithmetic."""

import importlib.util
import itertools
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `benchmarks` is no part of the installed package

import kcnn  # noqa: E402
from benchmarks import export, health, pictures_cost, scaling, soak, step, style, swa, swa_cost  # noqa: E402
from benchmarks.harness import contest, epochs, machine, pictures, rows  # noqa: E402
from kcnn.recipes import families  # noqa: E402

#: Sleeps MS milliseconds a step; its loss falls by FALL a step.
SLEEPER = """
import sys, time
sys.path.insert(0, {root!r})
from benchmarks.harness.seat import serve
ms, fall, parameters = {ms}, {fall}, {parameters}
done = 0
def run(steps):
    global done
    print("chatter")
    time.sleep(steps * ms / 1000)
    done += steps
    return {{"loss": 10.0 - fall * done}}
serve(run, batch=8, parameters=parameters, longest={longest})
"""


def sleeper(name, ms=2.0, fall=0.01, parameters=100, longest=1000):
    code = SLEEPER.format(root=str(ROOT), ms=ms, fall=fall, parameters=parameters, longest=longest)
    return contest.Contender(name, [sys.executable, "-c", code])


def entry(name, speeds, losses=(2.0, 1.0), parameters=100, batch=10):
    """A contender that did one step in each window, at `speeds` images per second."""
    windows = [{"steps": 1, "seconds": batch / speed, "busy_before": 0.0} for speed in speeds]
    for window in windows:
        window["loss"] = losses[-1]
    first = {"steps": 1, "seconds": 1.0, "loss": losses[0]}
    return contest.Entry(name, {"batch": batch, "parameters": parameters}, first, windows)


@pytest.fixture
def hasty(monkeypatch):
    """No waiting for an idle machine: tests run beside each other."""
    monkeypatch.setattr(contest, "idle", lambda: 0.25)


def test_contenders_run_in_turn_and_are_timed(hasty):
    entries = contest.contest([sleeper("quick", 1), sleeper("slow", 4)], windows=3, seconds=0.1)
    quick, slow = entries
    assert [len(e.windows) for e in entries] == [3, 3]
    for entry_, ms in ((quick, 1), (slow, 4)):
        for window in entry_.windows:
            assert window["seconds"] >= window["steps"] * ms / 1000
            assert window["busy_before"] == 0.25
            assert window["memory"] > 1e6
    assert quick.windows[0]["steps"] > slow.windows[0]["steps"]  # windows last alike
    # The loss says how many steps lay before: warm-up, then one window after the other.
    done = [round((10.0 - w["loss"]) / 0.01) for w in quick.windows]
    steps = quick.windows[0]["steps"]
    assert [b - a for a, b in itertools.pairwise(done)] == [steps, steps]
    contest.check(entries)


def test_windows_end_with_the_epoch(hasty):
    (short,) = contest.contest([sleeper("short", 1, longest=5)], windows=2, seconds=0.1)
    assert [window["steps"] for window in short.windows] == [5, 5]


def test_a_contender_that_fails_is_named_with_its_last_words(hasty):
    broken = contest.Contender("broken", [sys.executable, "-c", "raise OSError('no such luck')"])
    with pytest.raises(contest.Refused, match=r"(?s)broken ended with code 1.*no such luck"):
        contest.contest([sleeper("whole"), broken], windows=1, seconds=0.05)


def test_a_contender_that_dies_in_a_window_is_named(hasty):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    code += "from benchmarks.harness.seat import serve; "
    code += "serve(lambda steps: sys.exit('out of memory'), batch=1, parameters=1)"
    dying = contest.Contender("dying", [sys.executable, "-c", code])
    with pytest.raises(contest.Refused, match=r"(?s)dying.*out of memory"):
        contest.contest([dying], windows=1, seconds=0.05)


def test_other_networks_are_refused():
    with pytest.raises(contest.Refused, match=r"parameter counts differ.*101"):
        contest.check([entry("a", [1.0]), entry("b", [1.0], parameters=101)])
    contest.check([entry("a", [1.0]), entry("b", [1.0], parameters=101)], tolerance=0.01)


@pytest.mark.parametrize("losses", [(2.0, 2.0), (2.0, math.nan), (math.inf, 1.0)])
def test_a_loss_that_does_not_fall_is_refused(losses):
    with pytest.raises(contest.Refused, match="loss of b"):
        contest.check([entry("a", [1.0]), entry("b", [1.0, 1.0], losses)])


def test_figures_and_ratios():
    entries = [
        entry("kcnn", [100, 300, 200]),
        entry("torch nhwc", [100, 100, 400]),
        entry("torch nchw", [50, 90, 60]),
    ]
    kcnn, nhwc, nchw = contest.rows(entries, against="torch", flops=1e9, peak=800.0)
    assert kcnn["median_images_per_second"] == 200
    assert (kcnn["min_images_per_second"], kcnn["max_images_per_second"]) == (100, 300)
    assert kcnn["spread"] == pytest.approx(1.0)
    assert {row["reference"] for row in (kcnn, nhwc, nchw)} == {"torch nhwc"}
    assert kcnn["ratio"] == pytest.approx(2.0)  # 200 / 100
    assert kcnn["ratio_of_rounds"] == pytest.approx(1.0)  # of 1, 3 and 1/2
    assert nchw["ours_against_it"] == pytest.approx(200 / 60)
    assert kcnn["gflops"] == pytest.approx(200.0)
    assert kcnn["share_of_peak"] == pytest.approx(0.25)
    assert contest.rows(entries[:1], against="torch")[0]["ratio"] is None


def test_a_busy_machine_is_waited_for(monkeypatch):
    readings = iter([(0.0, 0.0), (0.9, 1.0), (0.9, 1.0), (0.91, 2.0)])
    monkeypatch.setattr(machine, "cpu_times", lambda: next(readings))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    assert machine.idle(below=0.05, patience=100) == pytest.approx(0.01)


def test_patience_ends(monkeypatch):
    readings = iter([(0.0, 0.0), (0.9, 1.0)])
    monkeypatch.setattr(machine, "cpu_times", lambda: next(readings))
    assert machine.idle(below=0.05, patience=0) == pytest.approx(0.9)


def test_the_file_holds_machine_figures_and_more(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(machine, "gpu", lambda: None)
    lines = [{"name": "a", "speed": "1", "windows": [1.0, 2.0]}]
    machine.report("some", "Some", ["name", "speed"], lines, notes="a note", peak={"float32": 1})
    content = json.loads((tmp_path / "some.json").read_text())
    assert content["rows"] == lines == machine.saved("some")
    assert content["peak"] == {"float32": 1}
    assert {"processor", "cores", "python", "keras", "torch", "date"} <= set(content["machine"])
    printed = capsys.readouterr().out
    assert "a note" in printed
    assert "windows" not in printed


def test_a_refused_row_is_a_line_of_its_own(monkeypatch, capsys):
    def refuse(*_, **__):
        raise contest.Refused("the parameter counts differ")

    monkeypatch.setattr(contest, "contest", refuse)
    (line,) = step.measured("lenet5-28", {"float32": 1.0}, None, 1, 1.0)
    shown = step.shown(line)
    assert [shown[column] for column in step._COLUMNS[:3]] == ["lenet5-28", "refused", ""]
    assert "differ" in line["refused"]
    assert "lenet5-28 is refused" in capsys.readouterr().err


def test_the_images_can_be_learned():
    images, labels = rows.synthetic(2000, (4, 4, 3), 1000)
    assert (images.shape, images.dtype) == ((2000, 4, 4, 3), "uint8")
    assert sorted(set(labels)) == [111 * k for k in range(10)]
    mean = images.mean((1, 2))
    within = max(mean[labels == k].std(0).max() for k in set(labels))
    between = min(
        abs(mean[labels == a].mean(0) - mean[labels == b].mean(0)).max()
        for a in set(labels)
        for b in set(labels)
        if a < b
    )
    assert between > within


def test_a_folder_of_pictures(tmp_path):
    folder = pictures.write_folder(tmp_path / "images", 230, 8)
    files = list(folder.rglob("*.jpg"))
    assert len(files) == 230
    assert len({path.stat().st_ino for path in files}) == 200


def test_a_straight_line_has_the_exponent_one():
    arrays = [{"images": n, "median_seconds": 2e-5 * n} for n in (10_000, 30_000, 100_000)]
    arrays.insert(0, {"images": 1000, "median_seconds": 5.0})  # fixed cost: not counted
    files = [{"files": n, "measured": {"steps": 1e8 + 80 * n}} for n in (1000, 10_000, 100_000)]
    fit = scaling.slopes(arrays, files)
    assert fit["exponent"] == pytest.approx(1.0)
    assert fit["bytes_per_file"] == pytest.approx(80.0)


def arms(last, swa_, stale):
    """The two trainings of a seed, by test accuracies; the second epoch was best on validation."""
    raw = [{"validation": v, "test": t} for v, t in ((0.7, 0.6), (0.9, 0.8), (0.9, last))]
    one = {"validation": 0.9, "test": 0.75}
    final = {f"{name}, recalibrated": one for name in (swa.EMA, swa.LAST)}
    ours = {swa.SWA: one | {"test": swa_}, swa.STALE: one | {"test": stale}}
    return [
        {"arm": "swa", "raw": raw, "averaged": [], "final": ours},
        {"arm": "sgd", "raw": raw, "averaged": [one], "final": final},
    ]


def test_what_is_kept_of_trainings_with_and_without_averaging():
    kept = swa.kept(arms(0.85, 0.9, 0.1))
    assert (kept[swa.LAST], kept[swa.BEST], kept[swa.EMA]) == (0.85, 0.8, 0.75)
    assert (kept[swa.SWA], kept[swa.STALE]) == (0.9, 0.1)


@pytest.mark.parametrize(
    ("gains", "word"),
    [((1, 2, 3), "not found"), ((2, 2, 3), "found"), ((-2, -2, -3), "reversed")],
)
def test_the_papers_ordering_is_judged_by_a_paired_t(gains, word):
    last = [0.80, 0.82, 0.81]
    averaged = [a + gain / 100 for a, gain in zip(last, gains, strict=True)]
    line = swa.row(swa.SWA, averaged, last)
    mean = sum(gains) / 3
    error = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 2 / 3)
    assert (line["gain"], line["standard_error"]) == pytest.approx((mean, error))
    assert line["t"] == pytest.approx(mean / error)
    assert line["higher in"] == f"{sum(gain > 0 for gain in gains)} of 3"
    stale = swa.row(swa.STALE, [0.1] * 3, last)
    raw = swa.row(swa.RAW, [0.8] * 3, last)
    text = swa.verdict([swa.row(swa.LAST, last, last), line, stale, raw])
    assert f"last iterate: {word}" in text
    assert "collapses" in text


def test_differences_of_statistics_are_in_deviations_and_relative():
    full = [(np.array([1.0, 2.0]), np.array([4.0, 1.0])), (np.array([0.0]), np.array([1.0]))]
    part = [(np.array([2.0, 2.0]), np.array([5.0, 1.0])), (np.array([-1.0]), np.array([0.5]))]
    found = swa_cost._differences(full, part)
    assert found == {
        "mean_average": 0.5,
        "mean_largest": 1.0,
        "variance_average": 0.25,
        "variance_largest": 0.5,
    }


def test_what_pictures_cost_is_taken_within_rounds():
    def one(epochs, end):
        return {"epochs": epochs, "end": end}

    found = {
        "without": [one([2.0, 2.0], 1.0), one([9.0, 9.0], 2.0), one([2.0, 2.0], 1.0)],
        "at the end": [one([2.0, 2.0], 4.0), one([9.0, 9.0], 5.0), one([2.0, 2.0], 8.0)],
        "every epoch": [one([3.0, 4.0], 4.0), one([9.0, 10.0], 5.0), one([3.0, 4.0], 8.0)],
    }
    line = pictures_cost.row("lenet5", 9, found)
    assert line["more"] == {"behind each": 1.5, "at the end": 3.0}
    assert line["ratio"] == {"at the end": 8 / 5, "every epoch": 11 / 5}
    assert (line["CPU s an epoch"], line["s at the end"], line["n"]) == ("2.00", "1.00", 3)


def test_a_callbacks_own_hooks_are_timed_and_left():
    import keras

    class Slow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(0.05 * epoch)

    def fit(callbacks):
        for epoch in range(2):
            for hook in ("on_epoch_begin", "on_epoch_end"):
                time.sleep(0.1)
                for callback in callbacks:
                    getattr(callback, hook)(epoch)

    slow = Slow()
    (first, second), (nothing, own) = epochs.inside(fit, slow)
    assert nothing < 0.05 <= own < 0.1 <= first
    assert second >= 0.15
    assert vars(slow).keys() == vars(Slow()).keys()


def test_what_health_costs_is_of_the_looks_behind_the_trace():
    taken = [9.0, 7.0, 12.0, 7.0, 5.0, 4.0, 6.0, 4.0, 5.0, 4.0]
    line = health.row(4500, taken, [1.0, 0.0, 3.0, 0.0, 0.2, 0.0, 0.3, 0.0, 0.2, 0.0])
    assert (line["CPU s an epoch"], line["with it"], line["n"]) == ("4.00", "5.00", 3)
    assert (line["its hooks, s"], line["of an epoch"], line["× (rounds)"]) == (
        "0.200",
        "5.00%",
        "1.250",
    )
    assert (line["first two, s"], line["of 9,000"], line["in 30 epochs"]) == (
        "1.00, 3.00", "2.50%", "4.00%",
    )  # fmt: skip


def test_a_style_transfer_says_when_it_was_there():
    from kcnn.interpret.style import Stylised
    from kcnn.interpret.style_losses import Losses

    curve = [(10.0, 6.0, 0.5), (29.0, 17.0, 0.02), (31.0, 19.0, 0.012), (70.0, 40.0, 0.01)]
    ends = Losses((2.0,), (0.02, 0.06), 9.0), Losses((0.0,), (3.0, 5.0), 0.0)
    found = Stylised(np.zeros((2, 2, 3), "uint8"), *ends, seconds=41.0)
    line = style.row("L-BFGS", 1000.0, curve, found, 72.0)
    assert [line[column] for column in style._COLUMNS] == [
        "L-BFGS", "1000", 4, "1/100", "1/50", "1/83", "31", "19", "72", "41", "2.00", "9.0",
    ]  # fmt: skip
    never = style.row("L-BFGS", 50.0, curve[:2], found, 72.0)
    assert (never["1/80 in CPU s"], never["clock's s"]) == ("–", "–")


def test_adam_finds_a_minimum_within_bounds():
    goal = np.linspace(-100, 100, 20).reshape(4, 5)
    low, high = np.full((4, 5), -50.0), np.full((4, 5), 60.0)
    slope = lambda x: (float(((x - goal) ** 2).sum()), 2 * (x - goal))  # noqa: E731
    found = style.adam(slope, np.zeros((4, 5)), low, high, 150, rate=5.0)
    np.testing.assert_allclose(found, np.clip(goal, low, high), atol=3)


def test_a_soak_counts_runs_that_differ():
    run = {"kills": 3, "in_saves": 1, "resumes": 2, "difference": None}
    line = soak.row("swa", [run, run | {"difference": "checkpoint.step"}])
    assert list(line.values()) == ["swa", 2, 6, 2, 4, 1]


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs PyTorch (extra bench)")
@pytest.mark.parametrize("name", ["lenet5-28", "resnet20-32"])
def test_pytorchs_networks_have_as_many_parameters_as_ours(name):
    import kcnn
    from benchmarks.contenders import torch_step

    row = rows.ROWS[name]
    card = kcnn.card(row.model, input_shape=row.input_shape, classes=row.classes, **row.options)
    model, run = torch_step.training(row, "nhwc", 16, 64)
    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert math.isfinite(run(1)["loss"])


@pytest.mark.parametrize("batches", [1, 100], ids=["layer by layer", "folded"])
def test_the_contender_of_inference_gives_what_the_network_gives(batches):
    from benchmarks.contenders.inference_contender import _probabilities

    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")
    model = kcnn.build("resnet20", depths=(1, 1, 1))
    found = _probabilities(model, batches)(images)
    np.testing.assert_allclose(found, model(images, training=False), atol=1e-5)


_FEW = ("digits", "cat_vs_noncat")  # below 5,000 images, where the decay is three times as large


@pytest.mark.parametrize(("row", "family"), [("mlp", families.MLP), ("lenet", families.LENET),
                                             ("vgg, BatchNorm", families.VGG)])  # fmt: skip
def test_defaults_are_within_chance_of_the_best_on_validation(row, family):
    """Of all candidates, by the paired differences of the searches that are written down."""
    rows = [one for one in machine.saved("defaults") if one["family"] == row]
    found = next(one["accuracies"] for one in rows if "accuracies" in one)

    def runs(rate, decay, factor):
        keys = {data: f"{rate:g} {decay * (factor if data in _FEW else 1):g}" for data in found}
        return np.array([run[keys[data]] for data, seeds in found.items() for run in seeds])

    tried = [(one["rate"], one["decay"], int(one["below 5,000"].split()[1])) for one in rows]
    best = max((runs(*one) for one in tried), key=np.mean)
    rate, decay = family.learning_rate, family.weight_decay
    behind = best - runs(rate, decay, 3)
    assert behind.mean() <= 2 * behind.std(ddof=1) / len(behind) ** 0.5
    factor = 3 if set(_FEW) & set(found) else 1
    at_it = {d: runs(rate, d, factor).mean() for r, d, f in tried if (r, f) == (rate, factor)}
    assert max(at_it, key=at_it.get) == decay


def test_a_file_that_was_refused_is_not_when_it_is_written_anew():
    compared = {"network": "mlp", "format": "onnx", "size": 2_000_000, "relative": 1e-6,
                "agreement": 1.0}  # fmt: skip
    timed = {"network": "mlp", "format": "onnx", "seconds_1": [2e-3], "busy_before_1": 0.1}
    refused = export.merged({}, {"network": "mlp", "format": "onnx", "size": 9, "refused": "why"})
    assert refused["difference"] == "refused"
    anew = export.merged(export.merged(refused, compared), timed)
    assert [anew[k] for k in ("MB", "difference", "ms, 1 image")] == ["2", "1.0e-06", "2"]
    assert "refused" not in anew
    again = export.merged(anew, compared | {"relative": 3e-6})
    assert again["difference"] == "3.0e-06"
    assert again["seconds_1"] == [2e-3]


def of_settings(row):
    """Points of validation by "rate decay", a seed each, of the searches of one data set."""
    (found,) = [one["accuracies"] for one in machine.saved("defaults")
                if one["family"] == row and "accuracies" in one]  # fmt: skip
    by_setting = {}
    for runs in found.values():
        for run in runs:
            for setting, score in run.items():
                by_setting.setdefault(setting, []).append(score)
    return by_setting


def assert_within_chance(by_setting, rate, decay):
    own = np.array(by_setting[f"{rate:g} {decay:g}"])
    behind = np.array(max(by_setting.values(), key=np.mean)) - own
    assert behind.mean() <= 2 * behind.std(ddof=1) / len(behind) ** 0.5


@pytest.mark.parametrize(("row", "family"), [("unet", families.UNET), ("fcos", families.FCOS)])
def test_rates_of_pixels_and_boxes_are_within_chance_of_the_best(row, family):
    """Their data are few, so that the decay in use is three times the family's."""
    by_setting = of_settings(row)
    assert len(by_setting) == 4
    assert_within_chance(by_setting, family.learning_rate, 3 * family.weight_decay)


def pooled(rows):
    """`of_settings` of rows of one family together, of the settings that all have."""
    found = [of_settings(row) for row in rows]
    shared = set.intersection(*map(set, found))
    return {setting: [v for one in found for v in one[setting]] for setting in shared}


@pytest.mark.parametrize(
    ("rows", "settings", "rate", "decay"),
    [
        (
            ["resnet", "resnet, in full", "resnet, many", "resnet, deep"], 2,
            families.RESNET.learning_rate, families.RESNET.weight_decay,
        ),
        (["resnet, few"], 6, families.RESNET.learning_rate, families.RESNET.weight_decay),
        (["resnet, from weights"], 5, families.RESNET.learning_rate, families.RESNET.weight_decay),
        (["vgg"], 8, families.VGG.learning_rate, families.VGG.weight_decay),
        (
            ["vgg, from weights"], 3,
            families.VGG.begun * families.VGG.learning_rate, 3 * families.VGG.weight_decay,
        ),
        (
            ["fcn", "fcn, as published"], 4,
            families.FCN.learning_rate, 3 * families.FCN.weight_decay,
        ),
    ],
)  # fmt: skip
def test_rates_are_within_chance_of_the_best(rows, settings, rate, decay):
    by_setting = pooled(rows)
    assert len(by_setting) == settings
    assert_within_chance(by_setting, rate, decay)
