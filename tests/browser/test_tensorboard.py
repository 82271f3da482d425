"""The real TensorBoard in headless Chromium: every tab that is promised shows what was written.

TensorBoard is an application that runs in the page: nothing short of a browser says what its users
see. Text is read from the document with the trees of its components; of lines and pictures each
test says what is compared.
"""

import base64
import io
import json
import urllib.parse
import urllib.request

import numpy as np
import pytest
from oracles.searches import DATA, RATES
from PIL import Image

import kcnn
from kcnn.tuning import Options, tune

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

EPOCHS = 3


@pytest.fixture(scope="module")
def logs(chromium, tmp_path_factory):
    """A training with pictures, and a search with two trials; not begun without a browser."""
    folder = tmp_path_factory.mktemp("browser") / "logs"
    recipe = kcnn.Recipe(epochs=EPOCHS, name="lenet", logs=str(folder), images_every=2)
    kcnn.train(recipe, verbose=False)
    options = Options(model="mlp", trials=2, epochs=1, winner=False, seed=1, name="search",
                      space=(*RATES, "momentum=0.9", "width=4"), logs=str(folder))  # fmt: skip
    tune(options, data=DATA, verbose=False)
    return folder


@pytest.fixture(scope="module")
def url(logs):
    """Of a TensorBoard over the folder."""
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", str(logs), "--port", "0", "--load_fast=false"])
    return board.launch()


@pytest.fixture
def tab(chromium, url):
    """Open a tab; every request that it makes has to be answered, and by TensorBoard."""
    page = chromium.page(1300, 900)

    def opened(name):
        page.go(f"{url}#{name}")
        return page

    yield opened
    asked = [one["request"]["url"] for one in page.events("Network.requestWillBeSent")]
    assert asked
    assert [one for one in asked if not one.startswith((url, "data:", "blob:"))] == []
    answers = [one["response"] for one in page.events("Network.responseReceived")]
    assert [one["url"] for one in answers if one["status"] >= 400] == []
    page.close()


def column(logs, name):
    """Of the training's `metrics.csv`."""
    table = np.genfromtxt(logs / "lenet/metrics.csv", delimiter=",", names=True)
    return table[name]


def is_drawn(page, values):
    """Whether a chart has a line through those values by epoch, whatever its axes are."""
    for path in page.each("path.line", "e.getAttribute('d') || ''"):
        points = [point.split(",") for point in path.strip("MZ").split("L") if "," in point]
        drawn = np.array(points, float)
        if len(drawn) != len(values):
            continue
        x, y = drawn.T
        across = np.corrcoef(x, np.arange(len(values)))[0, 1]
        if across > 0.9999 and np.corrcoef(y, values)[0, 1] < -0.9999:  # y goes down a screen
            return True
    return False


def poll(page, found, *given):
    """Until a page has drawn; TensorBoard's lines move to their places."""
    for _ in range(500):  # a limit: a busy machine draws late
        if found(page, *given):
            return True
        page.script("new Promise(done => setTimeout(done, 200))")
    return False


def test_scalars(tab, logs):
    """Tags are named, and lines go through the values of `metrics.csv`."""
    page = tab("scalars&tagFilter=%5E(accuracy%7Closs)%2F&_smoothingWeight=0")
    tags = [f"{name}/{part}" for name in ("accuracy", "loss") for part in ("train", "validation")]
    page.wait_text(*tags, "search/trial-0001")
    for name in ("accuracy", "val_accuracy", "loss", "val_loss"):
        assert poll(page, is_drawn, column(logs, name)), name
    assert not is_drawn(page, column(logs, "loss")[::-1])


def test_custom_scalars(tab, logs):
    """Training and validation are lines of one chart, named by run."""
    page = tab("custom_scalars&_smoothingWeight=0")
    page.wait_text("training and validation", "accuracy/validation (lenet)", "loss/train (lenet)")
    assert poll(page, is_drawn, column(logs, "accuracy"))
    assert poll(page, is_drawn, column(logs, "val_accuracy"))


def test_images(tab):
    """Each picture is decoded and seen at the last epoch, and is not one colour."""
    page = tab("images")
    kinds = ["errors/confusion", "errors/precision_recall", "inside/feature_maps", "inside/filters"]
    page.wait_text(*kinds, "lenet", f"step {EPOCHS}")
    decoded = "e.complete && e.naturalWidth > 60 && /individualImage/.test(e.src) ? e.src : null"

    def seen(page):
        found = {tag_of(source): source for source in page.each("img", decoded) if source}
        return found if found.keys() >= set(kinds) else {}

    assert poll(page, seen), page.each("img", "e.src")
    for source in seen(page).values():
        with (
            urllib.request.urlopen(source, timeout=60) as answer,
            Image.open(io.BytesIO(answer.read())) as image,
        ):
            assert len(image.convert("L").getcolors()) > 8, source


def tag_of(source):
    """Of a picture's address: its key is (experiment, plugin, run, tag, ...) in base 64."""
    key = urllib.parse.parse_qs(urllib.parse.urlsplit(source).query)["blob_key"][0]
    return json.loads(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))[3]


def test_hparams(tab, logs):
    """A row for the run and for each trial of the search, with what was set."""
    page = tab("hparams")
    text = page.wait_text("lenet, logs", "trial-0000, search", "trial-0001, search")
    assert {"learning_rate", "batch_size", "kept/validation_accuracy"} <= set(text.split())
    for number in range(2):
        record = json.loads((logs / f"search/trial-000{number}/recipe.json").read_text())
        rate = record["recipe"]["learning_rate"]
        assert float(f"{rate:.5g}") in numbers(text), rate
    result = json.loads((logs / "lenet/result.json").read_text())
    loss = float(f"{result['validation_loss']:.5g}")
    click = "e.textContent.trim() === 'kept/validation_loss' && (e.click(), true)"
    assert any(page.each("paper-checkbox", click))
    assert poll(page, lambda page: loss in numbers(page.text()))


def numbers(text):
    """All numbers of a text."""
    found = set()
    for word in text.split():
        try:
            found.add(float(word))
        except ValueError:
            continue
    return found


def test_graphs(tab):
    """The network is a node of the graph's drawing, and opened it shows its layers."""
    page = tab("graphs&run=lenet")
    page.wait_text("Main Graph")

    def names(page):
        return " ".join(page.each("svg text", "e.textContent"))

    def are_there(page, *wanted):
        return all(name in names(page) for name in wanted)

    assert poll(page, are_there, "lenet5", "inputs"), names(page)
    assert "conv1" not in names(page)
    twice = "e.dispatchEvent(new MouseEvent('dblclick', {bubbles: true, view: window}))"
    page.each("g.nodeshape", f"e.parentNode.textContent.includes('lenet5') && {twice}")
    assert poll(page, are_there, "conv1", "conv2"), names(page)


def test_projector(tab, logs):
    """Every point is there with its dimensions, the images on them, and something is drawn."""
    page = tab("projector")
    features = (logs / "lenet/projector/features.tsv").read_text().splitlines()
    classes = set((logs / "lenet/projector/classes.tsv").read_text().split())
    points, width = len(features), len(features[0].split("\t"))
    page.wait_text("features in front of the last layer", f"{points}x{width}",
                   f"Points: {points}", f"Dimension: {width}",
                   f"{len(classes)} colors")  # fmt: skip
    answers = [one["response"] for one in page.events("Network.responseReceived")]
    (sprites,) = [one for one in answers if "sprite_image" in one["url"]]
    assert sprites["status"] == 200
    assert poll(page, lambda page: colours(page) > 50)  # images: an empty scene has some axes


def colours(page):
    """How many the middle of the window has, below and between all panels."""
    with Image.open(io.BytesIO(page.screenshot((420, 200, 520, 640)))) as image:
        return len(image.convert("RGB").getcolors(1 << 24))


def test_text(tab):
    """Recipe and network as tables, not as Markdown's source."""
    text = tab("text").wait_text(
        "lenet tag: model", "conv1 Conv2D 28×28×6 156 117,600", "61,706",
        "lenet tag: recipe", "learning_rate 0.005",
    )  # fmt: skip
    assert "|---" not in text
