"""What a file of a run says is data: its code is not run, its folders are not written."""

import json
import shutil

import pytest

import kcnn
from kcnn.cli.main import main
from kcnn.recipes.named import named_recipe
from kcnn.runs.directory import load_run

SOURCE = """
import pathlib
import keras, kcnn
pathlib.Path(__file__).with_name("ran").touch()
@kcnn.register({name!r}, input_shape=(8, 8, 1), classes=10)
def small(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),
                             keras.layers.Dense(classes, activation="softmax")])
"""


def written(folder, name):
    path = folder / f"{name}.py"
    path.write_text(SOURCE.format(name=name))
    return path


def ran(path):
    return path.with_name("ran").exists()


def changed(run, **fields):
    path = run / "recipe.json"
    content = json.loads(path.read_text())
    content["recipe"] |= fields
    path.write_text(json.dumps(content))


@pytest.fixture
def foreign(digits_run, tmp_path):
    """A copy of a run that names a file of code as its model, and is not finished."""
    run, code = tmp_path / "foreign", written(tmp_path, "evil")
    shutil.copytree(digits_run.directory, run)
    changed(run, model=f"{code}:evil")
    return run, code


def test_resume_runs_no_code_of_the_recipes(foreign):
    run, code = foreign
    (run / "result.json").unlink()
    with pytest.raises(kcnn.InputError, match=rf"Python code.*--trust {code}"):
        kcnn.resume(run, verbose=False)
    assert not ran(code)
    with pytest.raises(kcnn.InputError, match=r"other\.py' is another one"):
        kcnn.resume(run, trust="other.py", verbose=False)
    assert not ran(code)
    with pytest.raises(kcnn.InputError, match="another training"):  # it is no LeNet-5
        kcnn.resume(run, trust=code, verbose=False)
    assert ran(code)


def test_a_module_needs_the_users_word_too(foreign):
    run, _ = foreign
    (run / "result.json").unlink()
    changed(run, model="antigravity_of_mine:evil")
    with pytest.raises(kcnn.InputError, match=r"Python code.*--trust antigravity_of_mine"):
        kcnn.resume(run, verbose=False)


def test_evaluate_and_predict_run_none(foreign, capsys):
    run, code = foreign
    for task in ("classification", "elsewhere"):
        content = json.loads((run / "recipe.json").read_text())
        (run / "recipe.json").write_text(json.dumps(content | {"task": task}))
        main(["evaluate", str(run)])
        main(["predict", str(run), str(run / "none.png")])
        assert not ran(code)
    assert "--trust" in capsys.readouterr().err


def test_a_recipe_from_a_file_runs_none(foreign, capsys):
    run, code = foreign
    recipe = run / "recipe.json"
    with pytest.raises(kcnn.InputError, match="--trust"):
        named_recipe(recipe)
    assert main(["train", "--recipe", str(recipe)]) == 2
    assert "--trust" in capsys.readouterr().err
    assert not ran(code)
    assert named_recipe(recipe, trust=code).model == f"{code}:evil"
    assert not ran(code)


def test_a_word_without_a_recipe_is_not_ignored(capsys):
    assert main(["train", "lenet5", "--trust", "mine.py"]) == 2
    assert "without one" in capsys.readouterr().err


@pytest.mark.slow
def test_the_users_word_trains_and_resumes(tmp_path, capsys):
    code = written(tmp_path, "mine")
    logs = ["--logs", str(tmp_path / "logs")]
    assert main(["train", f"{code}:mine", "--epochs", "1", "--name", "first", *logs]) == 0
    recipe = tmp_path / "logs/first/recipe.json"
    again = ["train", "--recipe", str(recipe), "--trust", str(code), "--name", "again", *logs]
    assert main(again) == 0
    more = ["resume", str(tmp_path / "logs/again"), "--epochs", "2", "--trust", str(code)]
    assert main(more) == 0
    assert kcnn.load_run(tmp_path / "logs/again").result["epochs"] == 2


@pytest.mark.slow
def test_folders_that_a_recipe_names_are_not_written(digits_run, tmp_path):
    run, target = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(digits_run.directory, run)
    changed(run, cache=str(target), logs=str(target), name="x")
    recipe = named_recipe(run / "recipe.json")
    assert (recipe.cache, recipe.logs, recipe.name) == (None, "logs", None)
    kcnn.resume(run, epochs=3, verbose=False)
    assert not target.exists()
    assert load_run(run).result["epochs"] == 3


@pytest.mark.slow
class TestDamaged:
    """A file of a run that somebody changed is refused in a sentence."""

    @pytest.fixture
    def run(self, digits_run, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(digits_run.directory, run)
        return run

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (("recipe",), []), (("recipe", "epochs"), None), (("recipe", "epochs"), "2"),
            (("recipe", "epochs"), 10**400), (("recipe", "learning_rate"), 10**400),
            (("recipe", "validation"), 1e400), (("recipe", "options"), 3), (("data",), None),
            (("data", "class_names"), "abc"), (("data", "class_names"), [1, 2]),
            (("data", "images"), {"train": 1}), (("data", "image_shape"), [1, 2]),
            (("data", "fingerprint"), 3), (("data", "pixels"), {"dtype": "x"}),
            (("versions",), {"python": 3}), (("device",), None), (("task",), 3),
            (("recipe", "model"), 3), (("recipe", "extra"), 1),
        ],
    )  # fmt: skip
    def test_recipe(self, run, place, value):
        content = json.loads((run / "recipe.json").read_text())
        holder = content
        for name in place[:-1]:
            holder = holder[name]
        holder[place[-1]] = value
        (run / "recipe.json").write_text(json.dumps(content))
        for attempt in (load_run, lambda path: kcnn.resume(path, epochs=3, verbose=False)):
            with pytest.raises(kcnn.InputError, match=r"recipe\.json"):
                attempt(run)

    @pytest.mark.parametrize("name", ["epochs", "seed", "model", "batch_size"])
    def test_a_missing_field_does_not_become_its_default(self, run, name):
        content = json.loads((run / "recipe.json").read_text())
        del content["recipe"][name]
        (run / "recipe.json").write_text(json.dumps(content))
        for attempt in (load_run, kcnn.resume, lambda path: named_recipe(path / "recipe.json")):
            with pytest.raises(kcnn.InputError, match=f"the recipe has no {name}"):
                attempt(run)

    @pytest.mark.parametrize(
        "text", ["[]", "3", '"x"', "null", "{", "", "[" * 100_000, "\udcff", '{"epochs": 1}']
    )
    def test_no_object_at_all(self, run, text):
        for name in ("recipe.json", "result.json"):
            kept = (run / name).read_bytes()
            (run / name).write_bytes(text.encode(errors="surrogateescape"))
            with pytest.raises(kcnn.InputError, match=name):
                load_run(run)
            (run / name).write_bytes(kept)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("epochs", "1"), ("seconds", -1.0), ("test_accuracy", "0.9"), ("validation_loss", [])],
    )
    def test_result(self, run, name, value):
        content = json.loads((run / "result.json").read_text()) | {name: value}
        (run / "result.json").write_text(json.dumps(content))
        with pytest.raises(kcnn.InputError, match=rf"result\.json.*damaged: {name}"):
            load_run(run)

    @pytest.mark.parametrize(
        "text", ["epoch,loss\n1,x\n", "epoch,loss\n1,2,3\n", "\xff", "epoch,loss\n1,\0\n"]
    )
    def test_history(self, run, text):
        (run / "metrics.csv").write_bytes(text.encode("latin-1"))
        with pytest.raises(kcnn.InputError, match=r"metrics\.csv"):
            load_run(run)

    def test_a_short_text_of_a_great_many_values_is_not_read(self, run):
        (run / "result.json").write_text('{"epochs": [' + "[]," * 3_000_000 + "1]}")
        with pytest.raises(kcnn.InputError, match=r"declares 6,000,00. values"):
            load_run(run)
