"""Archives: what goes in comes out, and nothing that is not whole is believed."""

import errno
import hashlib
import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest

from kcnn.errors import InputError
from kcnn.storage import archive, files

CONTENT = {
    "numbers": [1, -2.5, float("nan"), float("-inf"), 2**80, True, None, "Ümläut\n"],
    "pair": (1, [2, (3,)]),
    "scalar": np.float32(0.1),
    "weights": np.arange(6.0).reshape(2, 3),
    "order": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "half": np.array([1.5, -0.0], ml_dtypes.bfloat16),
    "seed": np.array([1, 2**32 - 1], "uint32"),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3), "float32"),
    "point": np.array(7),
    "array": {"array": 1, "dict": 2, "tuple": 3},  # names that the format has a use for
}


def equal(a, b):
    if isinstance(a, (np.ndarray, np.generic)):
        assert type(a) is type(b)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    else:
        assert type(a) is type(b)
        assert a == b or a != a


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "a.ckpt"
    archive.write(path, CONTENT)
    return path


def test_round_trip(written):
    equal(CONTENT, archive.read(written))
    assert [p.name for p in written.parent.iterdir()] == ["a.ckpt"]


def test_every_truncation_is_noticed(written):
    whole = written.read_bytes()
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        written.write_bytes(whole[:size])
        with pytest.raises(archive.DamagedError, match="damaged"):
            archive.read(written)


def test_every_flipped_bit_is_noticed(written):
    whole = written.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(20), *rng.integers(0, len(whole), 100)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        written.write_bytes(changed)
        with pytest.raises(InputError):
            archive.read(written)


def test_appended_bytes_are_noticed(written):
    written.write_bytes(written.read_bytes() + b"x")
    with pytest.raises(archive.DamagedError):
        archive.read(written)


def test_no_length_is_believed_before_the_checksum(tmp_path):
    """A head that declares an exabyte is refused without taking memory for it."""
    path = tmp_path / "huge.ckpt"
    rows = json.dumps({"arrays": [{"dtype": "<f8", "shape": [2**57]}]}).encode()
    path.write_bytes(b"kcnn archive 1\n" + struct.pack("<Q", 2**60) + rows + b"\n{}" + b"0" * 32)
    with pytest.raises(archive.DamagedError):
        archive.read(path)


def test_what_is_not_plain_is_refused(tmp_path):
    for value in (object(), {1: 2}, np.array([object()]), {3.5}, b"bytes"):
        assert not archive.is_plain(value)
        with pytest.raises(TypeError):
            archive.write(tmp_path / "a.ckpt", {"x": value})
    assert list(tmp_path.iterdir()) == []
    assert archive.is_plain(CONTENT)


def test_a_failed_write_leaves_the_file_before(written, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        archive.write(written, {"other": 1})
    equal(CONTENT, archive.read(written))
    assert [p.name for p in written.parent.iterdir()] == ["a.ckpt"]


_ROW = {"dtype": "<f4", "shape": [2]}
_ARRAY = {"array": 0, "scalar": False}


class TestMadeUp:
    """Anybody can write a checksum: what it covers is checked, too."""

    @staticmethod
    def made(path, rows, tree, body=b"", length=None, version=b"1"):
        head = (rows if isinstance(rows, bytes) else json.dumps({"arrays": rows}).encode()) + b"\n"
        head += tree if isinstance(tree, bytes) else json.dumps(tree).encode()
        start = b"kcnn archive " + version + b"\n"
        whole = start + struct.pack("<Q", length or len(head)) + head + body
        path.write_bytes(whole + hashlib.sha256(whole).digest())
        return path

    @pytest.mark.parametrize(
        ("rows", "tree", "body"),
        [
            ([_ROW], _ARRAY, b"1234567"),  # shorter than it says
            ([_ROW], _ARRAY, b"123456789"),
            ([{"dtype": "<f4", "shape": [2**60]}], _ARRAY, b"12345678"),
            ([{"dtype": "<f4", "shape": [-2]}], _ARRAY, b"12345678"),
            ([{"dtype": "<f4", "shape": [2.0]}], _ARRAY, b"12345678"),
            ([{"dtype": "<f4", "shape": "2"}], _ARRAY, b"12345678"),
            ([{"dtype": "|O", "shape": [1]}], _ARRAY, b"12345678"),
            ([{"dtype": "|V8", "shape": [1]}], _ARRAY, b"12345678"),
            ([{"dtype": "<U0", "shape": [10**18]}], _ARRAY, b""),
            ([{"dtype": "finfo", "shape": [1]}], _ARRAY, b""),
            ([{"dtype": "<f4"}], _ARRAY, b""),
            ([{"dtype": ["<f4"], "shape": [2]}], _ARRAY, b"12345678"),
            ([{"dtype": "<f4", "shape": [0, 10**30]}], _ARRAY, b""),
            ([_ROW], {"array": 1, "scalar": False}, b"12345678"),
            ([_ROW], {"array": -1, "scalar": False}, b"12345678"),
            ([_ROW], {"array": True, "scalar": False}, b"12345678"),
            ([_ROW], {"array": 0}, b"12345678"),
            ([], {"dict": [[1, 2]]}, b""),
            ([], {"dict": [[[], 2]]}, b""),
            ([], {"dict": 3}, b""),
            ([], {"list": 3}, b""),
            ([], {"set": []}, b""),
            ([], {"list": [], "tuple": []}, b""),
            ([], b"{", b""),
            ([], b'{"list": [' + b"[" * 100_000, b""),
            (b"[]", {}, b""),
            (b"\xff", {}, b""),
            (b"{}", {}, b""),
        ],
    )
    def test_is_damaged_in_a_sentence(self, rows, tree, body, tmp_path):
        path = self.made(tmp_path / "a.ckpt", rows, tree, body)
        with pytest.raises(archive.DamagedError, match="damaged"):
            archive.read(path)

    def test_a_short_text_of_many_values_costs_nothing(self, tmp_path):
        path = self.made(tmp_path / "a.ckpt", [], b'{"list": [' + b"[]," * 3_000_000 + b"1]}")
        with pytest.raises(archive.DamagedError, match="declares"):
            archive.read(path)

    def test_a_version_digit_that_is_wrong_is_no_newer_version(self, written):
        written.write_bytes(written.read_bytes().replace(b"archive 1", b"archive 3", 1))
        with pytest.raises(archive.DamagedError):
            archive.read(written)
        newer = self.made(written, [], {"dict": []}, version=b"2")
        with pytest.raises(InputError, match="format 2") as caught:
            archive.read(newer)
        assert not isinstance(caught.value, archive.DamagedError)

    def test_another_order_of_bytes_is_this_machines_behind_it(self, tmp_path):
        values = np.array([1.5, -2.0], ">f4")
        archive.write(tmp_path / "a.ckpt", {"x": values})
        found = archive.read(tmp_path / "a.ckpt")["x"]
        assert found.dtype == np.float32
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, values)

    def test_what_is_no_file_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        for name in ("pipe", "folder"):
            with pytest.raises(archive.DamagedError, match="no regular file"):
                archive.read(tmp_path / name)
