"""One short training for all tests that look at what it left behind."""

import pytest

import kcnn


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """LeNet-5 on digits for two epochs, in a folder with a space and an umlaut."""
    logs = tmp_path_factory.mktemp("Läufe und mehr")
    recipe = kcnn.Recipe(epochs=2, name="digits run", logs=str(logs), histograms=True)
    return kcnn.train(recipe, verbose=False)
