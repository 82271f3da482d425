"""Workers: the same set of trials as one process, whoever dies meanwhile."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from oracles.searches import RATES, outcomes

import kcnn
from kcnn.storage.files import Lock
from kcnn.tuning import Options, member, tune, workers

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner"),
]


def search(logs, **fields):
    options = {"model": "mlp", "trials": 3, "epochs": 25, "winner": False, "name": "search"}
    options |= {"space": (*RATES[:-1], "batch_size=64"), "logs": str(logs)} | fields
    return tune(Options(**options), verbose=False)


def test_killed_it_ends_with_the_same_trials(tmp_path, monkeypatch):
    started, killed = [], []
    make = workers._Crew._started

    def remember(self, role, index):
        started.append((role, make(self, role, index)))
        return started[-1][1]

    def kill():
        """The first worker that trains, as soon as an epoch is written."""
        while not killed:
            time.sleep(0.02)
            for role, process in list(started):
                held = workers.held_by(tmp_path / "search", process.pid)
                if held is not None and list((tmp_path / "search").glob("trial-*/metrics.csv")):
                    process.kill()
                    killed.append(role)
                    break

    monkeypatch.setattr(workers._Crew, "_started", remember)
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    found = search(tmp_path, workers=2)
    thread.join(5)
    assert [role for role, _ in started].count(killed[0]) == 2  # under the same name
    assert all(process.poll() is not None for _, process in started)
    monkeypatch.undo()
    assert outcomes(found) == outcomes(search(tmp_path / "alone"))
    assert {trial.status for trial in found.trials} == {"completed"}


class Process:
    """A process that is whatever a test wants it to be."""

    def __init__(self, pid, returncode=None):
        self.pid, self.returncode = pid, returncode

    def poll(self):
        return self.returncode

    def wait(self, seconds=None):
        return self.returncode

    def send_signal(self, number):
        self.returncode = -number

    kill = terminate = lambda self: self.send_signal(9)


@pytest.fixture
def crew(tmp_path):
    """Two workers and a chief that are no processes."""
    made = workers._Crew(tmp_path, Options(workers=2))
    made.started = []

    def start(role, index):
        made.started.append(role)
        return Process(os.getpid())

    made._started = start
    made.start()
    (tmp_path / "workers").mkdir()
    return made


def test_with_a_chief_all_begin_anew(crew):
    roles, crew.started = crew.started, []
    workers_before = [p for role, p in crew._processes.items() if role != "chief"]
    crew._processes["chief"].returncode = -9
    assert crew.watch()
    assert crew.started == roles
    assert [process.returncode for process in workers_before] == [-signal.SIGTERM] * 2


def test_deaths_within_a_trial_are_its_own_affair(crew, tmp_path):
    """`kcnn.tuning.trials` counts them, with workers or without."""
    (tmp_path / "trial-0003").mkdir()
    role = crew.started[-1]
    with Lock(tmp_path / "trial-0003"):  # held by this process, which the others pretend to be
        for death in range(1, 2 * workers._DEATHS):
            crew._processes[role].returncode = -9
            assert crew.watch()
            assert crew.started[-1] == role, death


def test_deaths_outside_of_trials_end_the_search(crew, tmp_path):
    role = crew.started[-1]
    crew._log(role).write_text("ImportError: no such thing\n")
    for _ in range(workers._DEATHS - 1):
        crew._processes[role].returncode = 1
        assert crew.watch()
    crew._processes[role].returncode = 1
    with pytest.raises(kcnn.InputError, match=r"died 4 times.*ImportError: no such thing"):
        crew.watch()


def test_what_a_worker_refuses_is_said_once(crew, monkeypatch, capsys):
    crew.task.write_text('{"model": "lenet6", "space": []}')
    monkeypatch.setattr(member, "_end_with_parent", lambda parent: None)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker-0")
    role = crew.started[-1]
    crew._processes[role].returncode = member.serve(crew.task, os.getppid())
    crew._log(role).write_text("chatter\n" + capsys.readouterr().err)
    with pytest.raises(kcnn.InputError, match=r"^Unknown model 'lenet6'"):
        crew.watch()


def test_the_holder_of_a_trial(tmp_path):
    (tmp_path / "trial-0012").mkdir()
    assert workers.held_by(tmp_path, os.getpid()) is None
    with Lock(tmp_path / "trial-0012"):
        assert workers.held_by(tmp_path, os.getpid()) == 12


def test_it_listens_on_this_machine_alone(tmp_path):
    crew = workers._Crew(tmp_path, Options(workers=2))
    crew._started = lambda role, index: None
    crew.start()
    assert crew._chosen.startswith("127.0.0.1:")


def test_another_one_joins(tmp_path):
    """Two searches of one folder, as on two machines; each has one worker."""
    address = f"127.0.0.1:{workers._free_port()}"
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]; import test_workers\n"
        "found = test_workers.search(sys.argv[1], trials=4, epochs=60, join=sys.argv[2])\n"
        "print(*(trial.number for trial in found.trials))"
    )
    arguments = [str(tmp_path), address, str(HERE), str(HERE.parent)]
    joined = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("search/workers/joined-*.log")):  # its worker comes first
        assert joined.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    owners, ended = set(), threading.Event()

    def look():
        while not ended.wait(0.02):
            for lock in (tmp_path / "search").glob(f"trial-*/{Lock.NAME}"):
                owners.add(lock.read_text())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        found = search(tmp_path, trials=4, epochs=60, listen=address)
        said, _ = joined.communicate(timeout=120)
    finally:
        ended.set()
        joined.kill()
    assert joined.returncode == 0
    assert len({owner for owner in owners if owner}) == 2
    assert outcomes(found) == outcomes(search(tmp_path / "alone", trials=4, epochs=60))
    ranked = [str(trial.number) for trial in found.trials]
    told = said.split()  # what had ended when the guest left: the other may be at its last trial
    assert told == [number for number in ranked if number in told] != []


def test_nobody_to_join(tmp_path, monkeypatch):
    """KerasTuner's workers would wait for an hour."""
    monkeypatch.setattr(workers, "_ABSENCE", 1.5)
    address = f"127.0.0.1:{workers._free_port()}"
    with pytest.raises(kcnn.InputError, match=f"Nobody listens at {address}"):
        search(tmp_path, join=address)


def test_the_search_that_was_joined_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_ABSENCE", 1.5)
    made = workers._Crew(tmp_path, Options(join=f"127.0.0.1:{workers._free_port()}"))
    monkeypatch.setattr(made, "_started", lambda role, index: Process(os.getpid()))
    made.start()
    with socket.create_server(("127.0.0.1", int(made._chosen.rpartition(":")[2]))):
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert made.watch()
            time.sleep(0.1)
    while made.watch():
        assert time.monotonic() < deadline + 10
        time.sleep(0.1)


def test_one_gpu_each(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    (tmp_path / "workers").mkdir()
    seen = {}

    def start(command, env, **options):
        seen[env["KERASTUNER_TUNER_ID"]] = env["CUDA_VISIBLE_DEVICES"]

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    workers._Crew(tmp_path, Options(workers=3)).start()
    assert seen.pop("chief") == "-1"
    assert sorted(seen.values()) == ["4", "4", "7"] or sorted(seen.values()) == ["4", "7", "7"]
    assert all("chief" not in role for role in seen)


def test_a_machine_named_chief(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "gethostname", lambda: "chief-of-staff")
    assert "chief" not in workers._Crew(tmp_path, Options(workers=2))._name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 0}, "from 1 up"),
        ({"workers": 2, "method": "bayesian"}, "with workers, that would depend"),
        ({"listen": "9000"}, "HOST:PORT"),
        ({"listen": "a:1", "join": "b:2"}, "received both"),
    ],
    ids=str,
)
def test_options(fields, message):
    with pytest.raises(kcnn.InputError, match=message):
        Options(**fields)


def test_what_only_this_process_has(tmp_path):
    with pytest.raises(kcnn.InputError, match="Workers are other processes"):
        tune(Options(workers=2, logs=str(tmp_path)), data=([], []))


def test_one_whose_parent_dies_while_keras_loads_ends(tmp_path):
    """Whatever it imports first, it watches its parent by then."""
    task = tmp_path / "task.json"
    task.write_text(
        json.dumps({"model": "mlp", "space": [], "logs": str(tmp_path), "name": "search"})
    )
    (tmp_path / "search").mkdir()
    chief = socket.create_server(("127.0.0.1", 0))  # who never answers: by itself it would wait
    port = str(chief.getsockname()[1])
    role = {"TUNER_ID": "worker-0", "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": port}
    environment = os.environ | {f"KERASTUNER_{name}": value for name, value in role.items()}
    code = (
        "import os, subprocess, sys, time\n"
        "member = [sys.executable, '-m', 'kcnn.tuning.member', sys.argv[1], str(os.getpid())]\n"
        "child = subprocess.Popen(member, start_new_session=True)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    for seconds in (0.0, 0.3, 1.0):
        parent = subprocess.Popen(
            [sys.executable, "-c", code, str(task)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        pid = int(parent.stdout.readline())
        time.sleep(seconds)
        parent.kill()
        parent.communicate()
        deadline = time.monotonic() + 20
        while os.path.exists(f"/proc/{pid}/fd/0"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    chief.close()


def test_they_end_with_their_parent(tmp_path):
    """Killed itself, the parent can end nobody."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; import test_workers\n"
        "listen = f'127.0.0.1:{test_workers.workers._free_port()}'\n"
        "test_workers.search(sys.argv[1], listen=listen, epochs=2000)"
    )
    arguments = [str(tmp_path), str(HERE), str(HERE.parent)]
    parent = subprocess.Popen([sys.executable, "-c", code, *arguments])
    deadline = time.monotonic() + 60
    locks = []
    while not locks:
        locks = list((tmp_path / "search").glob(f"trial-*/{Lock.NAME}"))
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [int(lock.read_text().split()[1]) for lock in locks]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(os.path.exists(f"/proc/{pid}/fd/0") for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
