"""Networks with published weights in place of a run; a run's network as a backbone."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.cli.main import main
from kcnn.runs.published import run_of


@pytest.mark.slow
def test_a_photograph_by_a_networks_name(tmp_path, monkeypatch, capsys):
    """The five names are PyTorch's, of the centre 224 of 256."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: make EXTRAS=dev,oracle setup")
    from oracles import published

    net = published.ResNet((2, 2, 2, 2), (64, 128, 256, 512), 1000)
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (8, 8, 3), dtype="uint8")
    photo = np.asarray(Image.fromarray(photo).resize((256, 256), Image.Resampling.BICUBIC))
    Image.fromarray(photo).save(tmp_path / "photo.png")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    crop = ((photo[16:240, 16:240] / 255 - mean) / deviation).astype("float32")[np.newaxis]
    batch = torch.from_numpy(np.repeat(crop, 2, axis=0)).permute(0, 3, 1, 2)
    net = published.settled(published.randomized(net), batch)
    cache = tmp_path / "kcnn"
    (cache / "weights").mkdir(parents=True)
    published.save(net, cache / "weights" / "resnet18.tv_in1k.safetensors")
    names = {str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}
    (cache / "imagenet_class_index.json").write_text(json.dumps(names))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    main(["predict", "resnet18", str(tmp_path / "photo.png")])
    said = capsys.readouterr().out
    best = np.argsort(-published.logits(net, crop)[0])[:5]
    places = [said.index(f"class {number}") for number in best]
    assert places == sorted(places)
    assert said.count("class ") == 5


def test_a_normalisation_that_is_left_out_is_said(digits_run, capsys):
    """`weights=RUN` takes weights alone."""
    options = {"weights": digits_run.directory, "input_shape": (32, 32, 1), "include_top": False}
    kcnn.build("lenet5", **options)
    said = " ".join(capsys.readouterr().err.split())
    assert "and not in this network: mean" in said
    layers = [keras.layers.Rescaling(1 / 16)]
    kcnn.build("lenet5", preprocessing=layers, **options)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("name", "said"), [
    ("unet", "unet is for segmentation"), ("lenet5", "none of lenet5"), ("nothing", "no run dir"),
])  # fmt: skip
def test_what_has_no_published_weights(name, said):
    with pytest.raises(kcnn.InputError, match=said):
        run_of(name)


def test_a_runs_backbone_takes_raw_images(digits_run):
    run = kcnn.load_run(digits_run.directory)
    body = run.backbone()
    images = np.random.default_rng(0).uniform(0, 16, (3, 8, 8, 1)).astype("float32")
    model = run.network
    flat = next(layer for layer in model.layers if isinstance(layer, keras.layers.Flatten))
    expected = keras.Model(model.input, flat.input).predict(images, verbose=0)
    np.testing.assert_array_equal(body.predict(images, verbose=0), expected)
    assert body.layers[1] is model.layers[1]
    with pytest.raises(kcnn.InputError, match="no feature map of stride 64"):
        run.backbone(features=[64])
