"""Imports run strictly downward, room by room, in no circle, and importing kcnn loads nothing."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import kcnn

ROOT = Path(kcnn.__file__).parent

#: From the ground up; the rooms of one floor do not import each other. A room is a file or a
#: folder of `kcnn`, or a folder below one of its folders.
#: (The registry loads the families by name, through importlib: the one exception.)
FLOORS = (
    ("errors",),
    ("startup",),
    ("terminal", "figures", "devices"),
    ("storage",),
    ("recipes",),
    ("graph",),
    ("data.sets",),
    ("data.batches",),
    ("weights",),
    ("models", "loading", "recalibration"),
    ("interpret", "draw"),
    ("callbacks.checkpoint", "callbacks.averaging"),
    ("callbacks.records",),
    ("tasks",),
    ("runs",),
    ("training.loop",),
    ("training",),
    ("tuning",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Packages' faces hand names on, lazily or from the rooms below them; they are no rooms.
FACES = {
    ROOT / "__init__.py",
    *(ROOT / p / "__init__.py" for p in ("callbacks", "data", "interpret", "tuning")),
}
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path not in FACES]

#: What claims to be pure Keras, and so runs on its other backends.
PURE = ("errors", "recipes", "figures", "graph", "weights", "models", "interpret", "callbacks")
#: TensorFlow's fast way, taken where it is the backend, and what only TensorFlow can write.
ON_TENSORFLOW = {
    "kcnn.graph.forward": "traces the folded copy, where it is the backend",
    "kcnn.devices.memory": "asks it about GPUs; the host's memory, which loading asks for, without",
    "kcnn.graph.formats": "what converters take is its graph",
    "kcnn.graph.onnx_model": "as is what the converter of ONNX takes",
    "kcnn.graph.runtimes": "reads its SavedModel",
    "kcnn.interpret.gradient": "takes gradients with respect to images",
    "kcnn.models.batchnorm": "its fused kernel, where it is the backend",
    "kcnn.interpret.style_gradient": "the gradient of a picture, which Keras has not",
    "kcnn.interpret.health": "gradients by its tape, where it is the backend",
    "kcnn.callbacks.averaging.mean": "averages in one graph, where it is the backend",
    "kcnn.callbacks.records.hparams": "writes TensorBoard's files",
    "kcnn.callbacks.records.images": "what ends no training: errors of its writer",
    "kcnn.callbacks.records.tensorboard": "writes TensorBoard's files, also in Keras' own callback",
}


def name_of(path):
    return ".".join(("kcnn", *path.relative_to(ROOT).with_suffix("").parts))


NAMES = {name_of(path): path for path in MODULES}


@cache
def imported(path):
    """What the file imports, anywhere in it: (line, dotted name of the module or of its name)."""
    found = []
    package = ("kcnn", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return tuple(found)


def own_files(path):
    """The files of kcnn that `path` imports: the module, or the one that a name is of."""
    for _, name in imported(path):
        for candidate in (name, name.rpartition(".")[0]):
            if candidate in NAMES:
                yield candidate
                break


def room_of(name):
    """The room of a module, or of a name in it; None for what is in none."""
    parts = name.split(".")[1:]
    return next((r for r in (".".join(parts[:2]), parts[0] if parts else "") if r in FLOOR), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    own, wrong = room_of(name_of(path)), []
    assert own, f"{name_of(path)} is in no room: add it to FLOORS, and to docs/architecture.md"
    for line, name in imported(path):
        if name.partition(".")[0] != "kcnn":
            continue
        room = room_of(name)
        if room is None and name.rpartition(".")[0] in ("kcnn.data", "kcnn.callbacks"):
            room = f"{name.split('.')[1]}.{'batches' if 'data' in name else 'records'}"  # a face
        if room is None:
            wrong.append(f"line {line}: {name} is the facade's, not a room's")
        elif room != own and FLOOR[room] >= FLOOR[own]:
            wrong.append(f"line {line}: {own} imports {room}, which is not below it")
    assert wrong == []


def test_every_room_that_is_named_exists():
    missing = [
        room
        for room in FLOOR
        if not any((ROOT / room.replace(".", "/")).with_suffix(end).exists() for end in ("", ".py"))
    ]
    assert missing == []
    assert set(ON_TENSORFLOW) <= NAMES.keys()


def circles(edges):
    """Groups of nodes that reach each other, more than one in each (Tarjan 1972, simply)."""

    @cache
    def reached(node):
        seen, todo = set(), [node]
        while todo:
            for after in edges.get(todo.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        return frozenset(seen)

    return {frozenset(n for n in reached(node) if node in reached(n)) for node in edges} - {
        frozenset()
    }


def test_no_circle_between_files():
    assert circles({name: tuple(own_files(path)) for name, path in NAMES.items()}) == set()


def test_a_circle_would_be_found():
    assert circles({"a": ("b",), "b": ("c",), "c": ("a", "d"), "d": ()}) == {frozenset("abc")}


def test_pure_keras_above_tensorflow():
    """What takes or makes models imports TensorFlow neither itself nor at second hand."""

    def users(name, seen):
        """Modules that `name` imports, however far, and that import TensorFlow."""
        if name in seen or name in ON_TENSORFLOW:
            return
        seen.add(name)
        heavy = ("tensorflow", "kcnn.startup.tf", "torch", "jax")
        if any(other.startswith(heavy) for _, other in imported(NAMES[name])):
            yield name
        for other in own_files(NAMES[name]):
            yield from users(other, seen)

    wrong = {
        name: found
        for name in NAMES
        if name.split(".")[1] in PURE and (found := list(users(name, {"kcnn.startup"})))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "statement",
    ["import kcnn", "import kcnn; kcnn.list_models()", "import kcnn; kcnn.InputError, dir(kcnn)"],
)
def test_importing_and_listing_load_nothing_heavy(statement):
    heavy = "{'keras', 'tensorflow', 'numpy', 'jax', 'torch', 'sklearn', 'matplotlib', 'PIL'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


@pytest.mark.slow
def test_on_jax_nothing_of_it_loads_tensorflow():
    pytest.importorskip("jax", reason="needs JAX (extra `oracle`)")
    pure = [
        n for n in NAMES if n.split(".")[1] in PURE and not n.endswith(("__init__", "tensorboard"))
    ]
    code = (
        f"import importlib, sys; [importlib.import_module(n) for n in {pure}]\n"
        "import kcnn, numpy as np\n"
        "model = kcnn.build('lenet5', batchnorm=True)\n"
        "model.predict(np.zeros((2, 32, 32, 1)), verbose=0)\n"
        "kcnn.card('resnet20')\n"  # folding clones, and there Keras itself loads TensorFlow
        "print('tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, check=False, env=os.environ | {"KERAS_BACKEND": "jax"},
    )  # fmt: skip
    assert run.stdout.strip() == "False", run.stderr


def test_every_name_of_the_facade_is_there():
    for name in kcnn.__all__:
        assert getattr(kcnn, name) is not None
    assert set(kcnn.__all__) <= set(dir(kcnn))
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = kcnn.biuld
