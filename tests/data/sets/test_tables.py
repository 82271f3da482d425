"""A table beside pictures: what is read of it, and which rows are refused, by their lines."""

import numpy as np
import pytest
from oracles.images import write_image

import kcnn
from kcnn.data import load_data
from kcnn.data.sets.handed import handed_over
from kcnn.data.sets.tables import from_frame, is_frame
from kcnn.errors import InputError
from kcnn.runs.inference import evaluate_run

ROWS = [(f"pictures/{i:02}.png", "cat" if i % 3 else "dog") for i in range(12)]
SPLITS = ["train"] * 8 + ["val"] * 2 + ["Test"] * 2


class Frame:
    """What pandas and polars have in common."""

    to_dict = None

    def __init__(self, cells):
        self.cells, self.columns = cells, list(cells)

    def __getitem__(self, name):
        return self.cells[name]

    def __len__(self):
        return len(ROWS)


@pytest.fixture
def folder(tmp_path):
    for i, (file, _) in enumerate(ROWS):
        write_image(tmp_path / file, (20 * i, 5, 200 - 10 * i))
    return tmp_path


def write(folder, lines, name="table.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def full(folder):
    lines = [
        f"{f},{label},{s},{i / 4}" for i, (f, label), s in zip(range(12), ROWS, SPLITS, strict=True)
    ]
    return write(folder, ["file,label,split,weight", *lines])


def held(split):
    names = [str(path.relative_to(split.images.root)) for path in split.images]
    return list(zip(names, split.labels.tolist(), strict=True))


def number(rows):
    return [(file, ["cat", "dog"].index(label)) for file, label in rows]


def test_as_it_says(folder):
    data = load_data(full(folder))
    assert data.name == "table"
    assert data.class_names == ("cat", "dog")
    assert held(data.train) == number(ROWS[:8])
    assert held(data.validation) == number(ROWS[8:10])
    assert held(data.test) == number(ROWS[10:])
    np.testing.assert_array_equal(data.train.weights, np.arange(8, dtype="f4") / 4)
    assert data.validation.weights is data.test.weights is None
    assert "training images weigh 0 to 1.75" in data.provenance


def test_file_and_label_alone_are_divided_as_folders_are(folder):
    path = write(folder, ["file;label", *(f"{f};{label}" for f, label in ROWS)])
    data = load_data(path, validation=2)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [7, 2, 3]
    assert sorted(held(data.train) + held(data.validation) + held(data.test)) == number(ROWS)


def test_names_by_option_quotes_and_numbers(folder):
    lines = [f'{i % 2 + 1}\t"{f}"\tx' for i, (f, _) in enumerate(ROWS)]
    path = write(folder, ["Class\tScan\tage", *lines], "of scans.tsv")
    with pytest.raises(InputError, match="no column file; it has Class, Scan, age"):
        load_data(path)
    data = load_data(path, columns="file=Scan")
    assert data.class_names == ("1", "2")
    assert "not read: age" in data.provenance
    with pytest.raises(InputError, match="no column 'scan'"):
        load_data(path, columns="file=scan")
    with pytest.raises(InputError, match="columns are of a table"):
        load_data(folder, columns="file=Scan")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({3: "pictures/no.png,cat,train,1"}, "not there: line 4 'pictures/no.png'"),
        ({5: "pictures/04.png,cat,holdout,1"}, "unknown split: line 6 'holdout'"),
        ({5: "pictures/04.png,cat,,1"}, "unknown split: line 6 ''"),
        ({2: "pictures/../pictures/00.png,cat,train,1"}, "line 3 and line 2: .*'dog', 'cat'"),
        ({2: "pictures/01.png,,train,1"}, "no label: line 3"),
        ({2: "pictures/01.png,cat,train,-1"}, "from 0 up: line 3 '-1'"),
        ({2: "pictures/01.png,cat,train,"}, "from 0 up: line 3 ''"),
        ({2: "pictures/01.png,cat"}, "line 3 has 2 cells, the header 4"),
        ({0: "file,label,label,weight"}, "two columns 'label'"),
        ({0: "file,class,category,weight"}, "class and category: say which one holds the label"),
        ({9: "pictures/08.png,cow,val,1"}, "'cow'"),
    ],
)
def test_refused_by_lines(folder, change, said):
    lines = full(folder).read_text().splitlines()
    for line, text in change.items():
        lines[line] = text
    with pytest.raises(InputError, match=said):
        load_data(write(folder, lines))


def test_another_label_weight_or_order_is_other_data(folder):
    path = full(folder)
    lines = path.read_text().splitlines()
    prints = [load_data(path).fingerprint]
    for change in (
        {2: lines[2].replace("cat", "dog")},
        {2: lines[2].replace("0.25", "0.5")},
        {2: lines[3], 3: lines[2]},
        {2: lines[2].replace("train", "val")},
    ):
        changed = [change.get(i, line) for i, line in enumerate(lines)]
        prints.append(load_data(write(folder, changed)).fingerprint)
    assert len(set(prints)) == 5
    assert load_data(write(folder, lines)).fingerprint == prints[0]


def test_handed_over_to_be_evaluated(folder):
    data = handed_over(full(folder), ("dog", "cat"))
    assert [label for _, label in held(data.test)] == [int(r[1] == "cat") for r in ROWS[10:]]
    path = write(folder, ["file,label", *(f"{f},{label}" for f, label in ROWS)], "all.csv")
    assert len(handed_over(path, ("cat", "dog", "cow")).test) == 12
    with pytest.raises(InputError, match="does not know: dog"):
        handed_over(path, ("cat", "cow"))


class TestFrame:
    def test_of_pandas_as_the_csv(self, folder, monkeypatch):
        pandas = pytest.importorskip("pandas", reason="needs pandas")
        monkeypatch.chdir(folder)
        frame = pandas.read_csv(full(folder))
        assert is_frame(frame)
        self.check(frame, folder)

    def test_of_anything_with_named_columns(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        files, labels = zip(*ROWS, strict=True)
        weights = [i / 4 for i in range(12)]
        frame = Frame({"file": files, "label": labels, "split": SPLITS, "weight": weights})
        assert is_frame(frame)
        assert not is_frame({"train": 1})
        self.check(frame, folder)

    def check(self, frame, folder):
        data = from_frame(frame, None, validation=2, seed=0)
        expected = load_data(full(folder))
        for part in ("train", "validation", "test"):
            assert held(getattr(data, part)) == held(getattr(expected, part))
        np.testing.assert_array_equal(data.train.weights, expected.train.weights)
        assert data.fingerprint == expected.fingerprint

    def test_cells_that_are_missing_are_rows_without(self, folder, monkeypatch):
        monkeypatch.chdir(folder)
        files = [file for file, _ in ROWS]
        labels = [1.0, float("nan"), *[2.0] * 10]
        with pytest.raises(InputError, match="no label: row 1"):
            from_frame(Frame({"file": files, "label": labels}), None, validation=2, seed=0)
        labels[1] = 1.0
        data = from_frame(Frame({"file": files, "label": labels}), None, validation=2, seed=0)
        assert data.class_names == ("1", "2")


def test_trained_evaluated_and_weighted(folder):
    """From the table to a run that finds its data again, by names of columns of its own."""
    text = full(folder).read_text().replace("file,label", "scan,finding", 1)
    path = write(folder, text.splitlines())
    recipe = kcnn.Recipe(
        data=str(path), columns="file=scan,label=finding", model="mlp", options={"width": 4},
        image_size=(8, 8), epochs=1, batch_size=4, logs=str(folder / "logs"), name="run",
    )  # fmt: skip
    run = kcnn.train(recipe, verbose=False)
    assert run.data["images"] == {"train": 8, "validation": 2, "test": 2}
    found = evaluate_run(run)
    assert found.accuracy == pytest.approx(run.result["test_accuracy"])
    assert evaluate_run(run, str(path)).images == 2
