"""Locks on directories, held and left by other processes."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from kcnn.errors import InputError
from kcnn.storage import files
from kcnn.storage.files import Lock

HOLD = """
import sys, time
from pathlib import Path
from kcnn.storage.files import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that holds the lock of the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_refused_with_the_number_of_the_first(owner, tmp_path):
    with pytest.raises(InputError, match=rf"being written by process {owner.pid} on \S+"):
        Lock(tmp_path)


def test_a_dead_owners_lock_is_reclaimed(owner, tmp_path):
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert (tmp_path / Lock.NAME).exists()  # what it left behind
    with Lock(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / Lock.NAME).read_text()
    assert list(tmp_path.iterdir()) == []


def test_released_it_can_be_had_again(tmp_path):
    first = Lock(tmp_path)
    with pytest.raises(InputError, match=f"process {os.getpid()}"):
        Lock(tmp_path)
    first.release()
    first.release()
    with Lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def none(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", none)
    with Lock(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / Lock.NAME).read_text()


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "create", full)
    with pytest.raises(OSError, match="No space"):
        Lock(tmp_path)
    monkeypatch.undo()
    with Lock(tmp_path):  # let go of
        pass


def test_a_file_is_on_the_disk_before_its_name_is_and_both_behind_it(tmp_path, monkeypatch):
    """Its bytes, then the rename, then the folder that holds the name (fsync(2))."""
    calls, sync, rename = [], os.fsync, os.replace

    def noted_sync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("sync the folder" if is_folder else "sync the file")
        sync(descriptor)

    def noted_rename(source, target):
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_rename)
    folder = tmp_path / "folder"
    folder.mkdir()
    files.replace(folder / "a.ckpt", lambda file: file.write(b"abc"))
    assert calls == ["sync the file", "rename", "sync the folder"]
    assert (folder / "a.ckpt").read_bytes() == b"abc"


class TestLinks:
    """Directories of others: what a link in them leads to is neither written nor removed."""

    @pytest.fixture
    def target(self, tmp_path):
        path = tmp_path / "target"
        path.write_text("mine")
        return path

    def test_a_file_is_replaced_and_not_what_its_name_leads_to(self, target, tmp_path):
        folder = tmp_path / "run"
        folder.mkdir()
        for name in ("result.json", ".result.json"):
            (folder / name).symlink_to(target)
        files.write_json(folder / "result.json", {"x": 1})
        assert target.read_text() == "mine"
        assert not (folder / "result.json").is_symlink()
        assert files.read_json(folder / "result.json") == {"x": 1}

    @pytest.mark.parametrize("name", [".lock", "a/b/c", "checkpoints"])
    def test_a_directory_with_a_link_is_not_written(self, name, target, tmp_path):
        folder = tmp_path / "run"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).symlink_to(target if name != "checkpoints" else tmp_path)
        with pytest.raises(InputError, match=f"{name}' is a link to "):
            Lock(folder)
        assert target.read_text() == "mine"
        (folder / name).unlink()
        with Lock(folder):
            pass

    def test_the_directory_itself_may_be_one(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "linked").symlink_to(tmp_path / "real")
        with Lock(tmp_path / "linked"):
            assert (tmp_path / "real/.lock").is_file()

    def test_opened_without_links(self, target, tmp_path):
        (tmp_path / "log").symlink_to(target)
        with pytest.raises(OSError, match="symbolic links"):
            files.without_links(str(tmp_path / "log"), os.O_WRONLY | os.O_APPEND)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="No such device"):
            files.without_links(str(tmp_path / "pipe"), os.O_WRONLY | os.O_APPEND)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_seen_before_a_file_is_begun(code, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"to write 1\.3 MB.*model\.keras") as caught:
        files.check_space(tmp_path / "model.keras", 10**6)
    assert caught.value.errno == code
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_utf_8_come_back(tmp_path):
    name = os.fsdecode(b"\xff\xfe")
    files.write_json(tmp_path / "a.json", {"name": name, "Ümläut": "é"})
    assert files.read_json(tmp_path / "a.json") == {"name": name, "Ümläut": "é"}
    assert "Ümläut" in (tmp_path / "a.json").read_text(encoding="utf-8")  # readable, too
