"""Imports run strictly downward, floor by floor, and importing kcnn loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kcnn

ROOT = Path(kcnn.__file__).parent

#: From the base up; the modules and packages of one floor do not import each other.
#: (The registry loads the families by name, through importlib: the one exception.)
FLOORS = (
    {"errors", "startup"},
    {"files"},
    {"archive", "batchnorm", "checks", "registry"},
    {"averaging", "layers", "data", "folding", "loading", "recalibration", "summary"},
    {"models", "weights"},
    {"callbacks", "interpret", "tables"},
    {"training", "tasks"},
    {"tuning", "claims"},
    {"cli"},
    {"__main__"},
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
FACADE = ROOT / "__init__.py"
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path != FACADE]


def imported(path):
    """What the file imports, anywhere in it: (line, dotted name of the module or of its name)."""
    package = ("kcnn", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path):
    own, wrong = part_of(path), []
    assert own in FLOOR, f"{own} has no floor: add it to FLOORS, and to DESIGN"
    for line, name in imported(path):
        root, _, rest = name.partition(".")
        if root != "kcnn":
            continue
        part = rest.partition(".")[0]
        if part not in FLOOR:
            wrong.append(f"line {line}: {name} is the facade's, not a module's")
        elif part != own and FLOOR[part] >= FLOOR[own]:
            wrong.append(f"line {line}: {own} imports {part}, which is not below it")
    assert wrong == []


def test_pure_keras_above_tensorflow():
    """What takes or makes models also runs on Keras' other backends.

    TensorBoard's files are written by TensorFlow alone, also in Keras' own callback.
    """
    pure = {"errors", "registry", "layers", "summary", "models", "callbacks", "interpret"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in MODULES
        if part_of(path) in pure and path != ROOT / "callbacks" / "tensorboard.py"
        for line, name in imported(path)
        if name.startswith(("tensorflow", "kcnn.startup.tf", "torch", "jax"))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "statement",
    ["import kcnn", "import kcnn; kcnn.list_models()", "import kcnn; kcnn.InputError, dir(kcnn)"],
)
def test_importing_and_listing_load_nothing_heavy(statement):
    heavy = "{'keras', 'tensorflow', 'numpy', 'jax', 'torch', 'sklearn', 'matplotlib', 'PIL'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_every_name_of_the_facade_is_there():
    for name in kcnn.__all__:
        assert getattr(kcnn, name) is not None
    assert set(kcnn.__all__) <= set(dir(kcnn))
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = kcnn.biuld
