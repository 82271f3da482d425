"""Weights and a cache of which a relative path was given are found again from another folder."""

from kcnn.recipes.places import found_again, whole_paths


def test_by_the_whole_path_and_known_by_the_given_one(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "first").mkdir(parents=True)
    monkeypatch.chdir(home)
    recipe = {"weights": "first", "cache": "memory", "backbone_weights": None, "data": "digits"}
    paths = whole_paths(recipe)
    assert paths == {"weights": str(home / "first")}
    recorded = {"recipe": recipe, "paths": paths}
    assert found_again(recorded)["recipe"] == recipe  # from where it was the name stays
    assert found_again(recorded)["named"] == {}
    monkeypatch.chdir(tmp_path)
    found = found_again(recorded)
    assert found["recipe"] == recipe | paths
    assert found["named"] == {"weights": "first"}
    (home / "first").rmdir()  # moved: what was given counts, from here
    assert found_again(recorded)["recipe"] == recipe
