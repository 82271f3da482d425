"""Downloads of published weights: a server on the loopback plays the hub, and Keras' bucket."""

import dataclasses
import hashlib
import http.server
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

import kcnn
from kcnn.weights import download
from kcnn.weights.published import PUBLISHED, Published, find

CONTENT = save({"numbers": np.arange(300_000, dtype="float32")})
SHA = hashlib.sha256(CONTENT).hexdigest()
ROW = Published("resnet18", "imagenet-tv1", 69.758, "BSD-3-Clause", "timm/resnet18.tv_in1k")
PATH = "/timm/resnet18.tv_in1k/resolve/main/model.safetensors"


class Hub(http.server.ThreadingHTTPServer):
    """Files by path; `cut` connections end in the middle, with what was sent so far."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.asked, self.announced = {PATH: CONTENT}, 0, [], SHA
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        hub, first = self.server, 0
        if (content := hub.files.get(self.path)) is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if asked := self.headers.get("Range"):
            first = int(asked.removeprefix("bytes=").split("-")[0])
        if first >= len(content):
            self.send_error(416)
            return
        if body:
            hub.asked.append(first)
        self.send_response(206 if first else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hub.announced}"')
        self.send_header("X-Linked-Etag", f'"{hub.announced}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        if hub.cut:
            hub.cut -= 1
            self.wfile.write(content[first : first + (len(content) - first) // 2])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(content[first:])


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))  # of processes
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_once(hub):
    path = download.fetch(ROW)
    assert path.read_bytes() == CONTENT
    assert hub.asked == [0]
    hub.files.clear()  # no network any more
    assert download.fetch(ROW) == path


def test_a_cut_connection_goes_on(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)  # of what is kept
    hub.cut = 1
    assert download.fetch(ROW).read_bytes() == CONTENT
    assert hub.asked[0] == 0
    assert hub.asked[1] > 0  # what was there is not asked for again


def test_what_was_not_announced(hub):
    hub.announced = "0" * 64
    with pytest.raises(kcnn.InputError, match="SHA-256 000000000000"):
        download.fetch(ROW)
    hub.announced = SHA
    assert download.fetch(ROW).read_bytes() == CONTENT  # nothing of it was kept


def test_nothing_there(hub, tmp_path):
    hub.files.clear()
    with pytest.raises(kcnn.InputError) as refused:
        download.fetch(ROW)
    by_hand = tmp_path / "cache" / "kcnn" / "weights" / "resnet18.tv_in1k.safetensors"
    assert f"{hub.address}{PATH}" in str(refused.value)
    assert str(by_hand) in str(refused.value)
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(CONTENT)
    assert download.fetch(ROW) == by_hand


def test_offline_it_says_so(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(kcnn.InputError, match=r"downloaded: Cannot reach .*`HF_HUB_OFFLINE`") as e:
        download.fetch(ROW)
    assert ".." not in str(e.value)


def of_keras(hub, name="net.h5", content=CONTENT):
    """A row of keras.applications, whose file the server has."""
    hub.files[f"/{name}"] = content
    return Published("vgg16", "imagenet-keras", 71.3, "CC-BY-4.0", None, f"{hub.address}/{name}",
                     hashlib.md5(content).hexdigest())  # fmt: skip


def test_a_cut_file_of_keras_goes_on(hub, tmp_path):
    row = of_keras(hub)
    hub.cut = 2
    assert download.fetch(row).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert hub.asked == [0, half, half + (len(CONTENT) - half) // 2]
    hub.cut, other = 99, of_keras(hub, "other.h5", CONTENT[::-1])
    with pytest.raises(kcnn.InputError, match="cut again and again"):
        download.fetch(other)
    hub.cut, hub.asked = 0, []
    assert download.fetch(other).read_bytes() == CONTENT[::-1]  # in another call
    assert hub.asked[0] > half
    names = [path.name for path in (tmp_path / "keras" / "models").iterdir()]
    assert sorted(name for name in names if "lock" not in name) == ["net.h5", "other.h5"]


def test_a_cut_file_of_keras_that_is_another_now(hub, tmp_path):
    """What was left of an older file does not get into the new one."""
    row, folder = of_keras(hub), tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    for left in (b"older" * 99, CONTENT + b"and more"):  # the server has no more of the second
        (folder / ".net.h5.part").write_bytes(left)
        with pytest.raises(kcnn.InputError, match="has not the MD5"):
            download.fetch(row)
    (folder / ".net.h5.part").write_bytes(CONTENT)  # killed before it had its name
    assert download.fetch(row).read_bytes() == CONTENT


@pytest.mark.slow
def test_two_processes_at_once(hub):
    program = (
        "from kcnn.weights import download\n"
        "from kcnn.weights.published import find\n"
        "print(download.fetch(find('resnet18', 'imagenet', {})).read_bytes().hex()[:8])\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [one.communicate(timeout=120)[0].split() for one in both] == [[CONTENT[:4].hex()]] * 2
    assert hub.asked == [0]


def test_keras_files(hub, tmp_path):
    row, bare = of_keras(hub), of_keras(hub, "net_notop.h5", CONTENT[:999])
    row = dataclasses.replace(row, without_top=(bare.address, bare.md5))
    assert download.fetch(row).read_bytes() == CONTENT
    assert download.fetch(row, top=False).read_bytes() == CONTENT[:999]
    assert download.fetch(row) == tmp_path / "keras" / "models" / "net.h5"
    assert len(hub.asked) == 2
    wrong = dataclasses.replace(of_keras(hub, "other.h5", b"something else"), md5=row.md5)
    with pytest.raises(kcnn.InputError, match="cannot be downloaded"):
        download.fetch(wrong)
    assert not (tmp_path / "keras" / "models" / "other.h5").exists()


def test_class_names(hub, tmp_path):
    index = {str(i): [f"n{i:08}", f"class_{i}"] for i in range(1000)}
    path = tmp_path / "cache" / "kcnn" / "imagenet_class_index.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(index))
    assert download.class_names()[:2] == ("class 0", "class 1")


def test_published_weights_go_in(hub, monkeypatch, tmp_path):
    """The tag brings options and preprocessing along."""
    import keras

    source = kcnn.build("vgg16", hidden=(8, 8), widths=(4,) * 5, batchnorm=True, conv_bias=True,
                        input_shape=(32, 32, 3))  # fmt: skip
    state, place = {}, 0
    for layer in source.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            state |= {f"features.{place}.weight": weights[0].transpose(3, 2, 0, 1),
                      f"features.{place}.bias": weights[1]}  # fmt: skip
        elif weights and layer.name.endswith("bn"):
            ends = ("weight", "bias", "running_mean", "running_var")
            state |= {f"features.{place}.{e}": w for e, w in zip(ends, weights, strict=True)}
        elif weights:
            name = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2"}.get(layer.name, "head.fc")
            state |= {f"{name}.weight": weights[0].T, f"{name}.bias": weights[1]}
        place += layer.name.startswith(("conv", "pool"))
    hub.files["/timm/vgg16_bn.tv_in1k/resolve/main/model.safetensors"] = content = save(
        {name: np.ascontiguousarray(array) for name, array in state.items()}
    )
    hub.announced = hashlib.sha256(content).hexdigest()
    options = {"hidden": (8, 8), "widths": (4,) * 5, "input_shape": (32, 32, 3)}
    model = kcnn.build("vgg16", weights="imagenet", batchnorm=True, **options)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    mean = np.array([0.485, 0.456, 0.406], "float32")
    deviation = np.array([0.229, 0.224, 0.225], "float32")
    expected = source.predict((images / 255 - mean) / deviation, verbose=0)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=1e-4)


def test_the_table():
    assert find("vgg16", "imagenet", {}).repository == "timm/vgg16.tv_in1k"
    assert find("vgg16", "imagenet", {"batchnorm": True}).repository == "timm/vgg16_bn.tv_in1k"
    assert find("resnet50", "imagenet-a1", {}).top1 == 80.38
    with pytest.raises(kcnn.InputError, match="imagenet, imagenet-tv1, imagenet-a1"):
        find("resnet18", "imagenet-keras", {})
    with pytest.raises(kcnn.InputError, match=r"state_dict as \.safetensors"):
        find("lenet5", "imagenet", {})
    with pytest.raises(kcnn.InputError, match="stride_in='1x1'; received '3x3'"):
        find("resnet50", "imagenet-keras", {"stride_in": "3x3"})
    assert {row.network for row in PUBLISHED} <= set(kcnn.list_models())
    assert [row.tag for row in kcnn.weights.list("resnet34")] == ["imagenet-tv1"]


def test_keras_hashes_are_keras_own():
    """As the installed Keras has them; other files would be other weights."""
    from keras.src.applications import resnet, vgg16

    for row in PUBLISHED:
        if row.network.startswith("resnet") and row.md5:
            assert (row.md5, row.without_top[1]) == resnet.WEIGHTS_HASHES[row.network]
    row = find("vgg16", "imagenet-keras", {})
    assert (row.address, row.without_top[0]) == (vgg16.WEIGHTS_PATH, vgg16.WEIGHTS_PATH_NO_TOP)
