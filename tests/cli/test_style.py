"""`kcnn style`, with a small network in the place of VGG-19."""

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.interpret import style_network
from kcnn.runs import style

#: Seconds each; everybody's tests are to be short.
pytestmark = pytest.mark.slow

H, W = 32, 48


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two files in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("cat.png", "sea.jpg"):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype("uint8"))
        coarse.resize((W, H), Image.Resampling.BICUBIC).save(name)
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    network = kcnn.build(
        "vgg19", depths=(1, 1, 1, 2, 1), widths=(12, 16, 16, 16, 16), include_top=False,
        input_shape=(None, None, 3), preprocessing="caffe",
    )  # fmt: skip
    monkeypatch.setattr(style_network, "vgg19", lambda weights, preprocessing: network)


def test_a_picture_is_painted(pictures, small, outcome):
    before = (pictures / "cat.png").read_bytes()
    status, out, err = outcome("style", "cat.png", "sea.jpg", "--size", 128 * 3 // 2, "--steps", 3)
    assert (status, err) == (0, "")
    first, rest = out.split("\n", 1)
    assert first.startswith("192×128 pixels, from 96×64 up, 3 steps each; about ")
    assert "MB of memory" in first
    assert "96×64  style 1/" in rest
    assert "192×128  style 1/" in rest
    assert rest.rstrip().endswith("→ cat-sea.png")
    with Image.open("cat-sea.png") as made:
        assert (made.size, made.mode, made.format) == ((192, 128), "RGB", "PNG")
    assert (pictures / "cat.png").read_bytes() == before
    assert sorted(p.name for p in pictures.iterdir()) == ["cat-sea.png", "cat.png", "sea.jpg"]


def test_weight_and_output(pictures, small, outcome):
    status, out, _ = outcome(
        "style", "cat.png", "sea.jpg", "--weight", 0, "--steps", 2, "--output", "b.jpg"
    )
    assert status == 0
    with Image.open("b.jpg") as made, Image.open("cat.png") as content:
        assert made.format == "JPEG"
        assert np.abs(np.asarray(made).astype(int) - np.asarray(content)).mean() < 4
    assert "content 0," in out


def test_transparent_parts_are_spoken_of(pictures, small, outcome):
    pixels = np.dstack([np.asarray(Image.open("cat.png")), np.full((H, W), 255, "uint8")])
    Image.fromarray(pixels).save("opaque.png")
    pixels[:8, :, 3] = 0
    Image.fromarray(pixels).save("clear.png")
    words = "transparent parts: they become white"
    for name, said in (("opaque.png", 0), ("clear.png", 1)):
        out = outcome("style", name, "sea.jpg", "--weight", 0, "--steps", 1)[1]
        assert out.count(words) == said
    made = np.asarray(Image.open("clear-sea.png"))
    assert (made[:8] == 255).all()


def test_what_is_interrupted_leaves_a_preview(pictures, small, outcome, monkeypatch):
    written = []

    def write(path, pixels):
        kept(path, pixels)
        written.append(path.name)
        if len(written) == 3:
            raise KeyboardInterrupt

    kept = style._write
    monkeypatch.setattr(style, "_write", write)
    monkeypatch.setattr(style, "_PREVIEW", 0.0)
    status, out, err = outcome("style", "cat.png", "sea.jpg", "--size", 192, "--steps", 20)
    assert (status, err) == (130, "kcnn: Interrupted.\n")
    assert "The last picture is cat-sea.preview.png." in out
    assert written == ["cat-sea.preview.png"] * 3
    with Image.open("cat-sea.preview.png") as made:
        assert made.size == (192, 128)  # also at half the size
    assert not (pictures / "cat-sea.png").exists()


def test_a_preview_that_cannot_be_written_ends_nothing(pictures, small, outcome, monkeypatch):
    def write(path, pixels):
        if "preview" in path.name:
            raise OSError("no space left")
        kept(path, pixels)

    kept = style._write
    monkeypatch.setattr(style, "_write", write)
    assert outcome("style", "cat.png", "sea.jpg", "--steps", 1)[0] == 0
    assert (pictures / "cat-sea.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png", "sea.jpg"], "none.png"),
        (["cat.png", "text.png"], "text.png: is not a JPEG, PNG, BMP, GIF, WebP, TIFF"),
        (["cat.png", "sea.jpg", "--size", "0"], "size is the longer side in pixels"),
        (["cat.png", "sea.jpg", "--size", "8"], "need 16 a side"),
        (["cat.png", "sea.jpg", "--weight", "-1"], "style_weight is a number from 0 up"),
        (["cat.png", "sea.jpg", "--steps", "0"], "steps is a whole number from 1 up"),
        (["cat.png", "sea.jpg", "--output", "a.txt"], "The output is a picture, .png, .jpg"),
        (["cat.png", "sea.jpg", "--output", "no/a.png"], "in a folder that is not there"),
        (["cat.png", "sea.jpg", "--output", "./cat.png"], "would replace 'cat.png'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused_in_a_sentence(pictures, small, outcome, arguments, message):
    (pictures / "text.png").write_text("no picture")
    before = {p.name: p.read_bytes() for p in pictures.iterdir()}
    status, out, err = outcome("style", *arguments)
    assert status == 2
    assert message in err
    assert err.startswith("kcnn: ")
    assert len(err.splitlines()) == 1
    assert out == ""
    assert {p.name: p.read_bytes() for p in pictures.iterdir()} == before


def test_weights_that_cannot_be_had(pictures, outcome, monkeypatch):
    """Which file, from where, and where it may be put."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pictures / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")

    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    status, _, err = outcome("style", "cat.png", "sea.jpg")
    assert status == 2
    assert "http://127.0.0.1:9/timm/vgg19.tv_in1k/resolve/main/model.safetensors" in err
    assert str(pictures / "cache" / "kcnn" / "weights" / "vgg19.tv_in1k.safetensors") in err
    status, _, err = outcome("style", "cat.png", "sea.jpg", "--weights", "mine.npz")
    assert status == 2
    assert "'mine.npz', which is not there" in err
