"""What does not fit into memory is not tried."""

from oracles.searches import DATA

import kcnn
from kcnn.models import registry
from kcnn.tasks.plan import known_card
from kcnn.tasks.task import find
from kcnn.tuning import splits
from kcnn.tuning.feasibility import Feasibility


def test_copies_in_checkpoints_and_of_the_best_weights_count():
    """On a processor they lie in the memory that trains: without them one in 24 GB was killed."""
    recipe = kcnn.Recipe(
        model="mlp", options={"width": 512, "depth": 2}, epochs=1, batch_size=8, optimizer="adam"
    )
    task = find("classification")
    problem = task.problem(splits.without_test(splits.whole(DATA, recipe, task)), recipe, None)
    trained = Feasibility(task, problem, 10**12)
    resolved = trained.resolved(recipe)
    cost = known_card(registry.lookup("mlp"), resolved, (6, 6, 1), 3).cost
    weights, step = cost.weight_memory, cost.training_memory(8, 2)
    assert weights > 50_000
    enough = int((step + 4 * weights) / 0.8) + 1  # model, two slots, and the best
    assert trained.refusal(recipe) is None
    assert Feasibility(task, problem, enough).refusal(recipe) is None
    assert "GiB to train" in Feasibility(task, problem, int(0.95 * enough)).refusal(recipe)
