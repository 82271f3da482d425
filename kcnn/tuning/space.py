"""A search space, and KerasTuner's `hp` to and fro: the only file that knows it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kcnn import startup
from kcnn.recipes.domains import Choice, Domain, Range, searched, value_text
from kcnn.recipes.families import CONDITIONS
from kcnn.recipes.recipe import Recipe

if TYPE_CHECKING:
    import keras_tuner


@dataclass(frozen=True)
class Space:
    """A search space: names with ranges, choices and fixed values, in the order of the table."""

    rows: Mapping[str, Domain]

    @property
    def searched(self) -> dict[str, Range | Choice]:
        """The rows in which there is something to search."""
        return {name: domain for name, domain in self.rows.items() if searched(domain)}

    @property
    def combinations(self) -> int | None:
        """How many different trials there are; None where a row has numbers without steps."""
        searched_rows = self.searched
        if any(isinstance(row, Range) and not row.whole for row in searched_rows.values()):
            return None
        conditions = {name: self.condition(name) for name in searched_rows}
        parents = [n for n in searched_rows if any(c and c[0] == n for c in conditions.values())]
        total = 0
        for chosen in itertools.product(*(_values(searched_rows[n]) for n in parents)):
            known = dict(zip(parents, chosen, strict=True))
            active = [
                row
                for name, row in searched_rows.items()
                if name not in known
                and not ((c := conditions[name]) and c[0] in known and known[c[0]] not in c[1])
            ]
            total += math.prod(_size(row) for row in active)
        return total

    def texts(self) -> dict[str, str]:
        """Each row as the command line has it."""
        return {
            name: str(domain) if searched(domain) else value_text(domain)
            for name, domain in self.rows.items()
        }

    def condition(self, name: str) -> tuple[str, tuple[Any, ...]] | None:
        """On which row's values it depends whether `name` counts."""
        found = CONDITIONS.get(name)
        return found if found and found[0] in self.rows else None

    def choose(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """What `hp` holds for each row that counts; rows that `hp` does not know are declared."""
        chosen: dict[str, Any] = {}
        for name, domain in self.rows.items():
            condition = self.condition(name)
            if not searched(domain):
                if not condition or chosen.get(condition[0]) in condition[1]:
                    chosen[name] = domain
                continue
            with _scope(hp, self.rows, condition):
                value = _ask(hp, name, domain)
            if not condition or chosen.get(condition[0]) in condition[1]:
                chosen[name] = value
        return chosen

    def declared(self) -> keras_tuner.HyperParameters:
        """KerasTuner's form of the space."""
        hp = _no_hyperparameters()
        self.choose(hp)
        return hp

    def recipe(self, hp: keras_tuner.HyperParameters, base: Recipe) -> Recipe:
        """The recipe that `hp` says, with the fields of `base` where it says nothing.

        Raises:
            InputError: Values that a recipe does not take.
        """
        return as_recipe(self.choose(hp), base)


def _values(row: Range | Choice) -> Sequence[Any]:
    return row.values if isinstance(row, Choice) else range(int(row.low), int(row.high) + 1)


def _size(row: Range | Choice) -> int:
    return len(_values(row))


def as_recipe(chosen: Mapping[str, Any], base: Recipe) -> Recipe:
    """`base` with what was chosen; names that are no fields are options of the network."""
    fields = {f.name for f in dataclasses.fields(Recipe)}
    values = {name: value for name, value in chosen.items() if name != "swa"}
    changes = {name: value for name, value in values.items() if name in fields}
    options = {name: value for name, value in values.items() if name not in fields}
    return dataclasses.replace(base, **changes, options=dict(base.options) | options)


def _scope(
    hp: keras_tuner.HyperParameters,
    rows: Mapping[str, Domain],
    condition: tuple[str, tuple[Any, ...]] | None,
) -> contextlib.AbstractContextManager:
    if not condition or not searched(rows[condition[0]]):
        return contextlib.nullcontext()
    parent, values = condition
    domain = rows[parent]
    assert isinstance(domain, Choice)  # of the table of conditions
    encode = _encoder(domain)
    return hp.conditional_scope(parent, [encode(v) for v in values if v in domain.values])


def _encoder(domain: Choice) -> Callable[[Any], Any]:
    """KerasTuner's choices are of one plain type; others go as JSON."""
    kinds = {type(value) for value in domain.values}
    plain = len(kinds) == 1 and kinds <= {int, float, str, bool}
    return (lambda value: value) if plain else json.dumps


def _ask(hp: keras_tuner.HyperParameters, name: str, domain: Range | Choice) -> Any:
    """The value of one row; None where its condition does not hold."""
    if isinstance(domain, Choice):
        encode = _encoder(domain)
        found = hp.Choice(name, [encode(v) for v in domain.values])
        return None if found is None else _chosen(domain, encode, found)
    if domain.scale == "log1m":
        found = hp.Float(f"1-{name}", 1 - domain.high, 1 - domain.low, sampling="log")
        return None if found is None else domain.rounded(1 - found)
    kind = hp.Int if domain.whole else hp.Float
    found = kind(name, domain.low, domain.high, sampling=domain.scale)
    return None if found is None else domain.rounded(found)


def _chosen(domain: Choice, encode: Callable[[Any], Any], found: Any) -> Any:
    """The value that `found` stands for; a number comes out of a message with 32 bits."""
    if isinstance(found, float):
        return min(domain.values, key=lambda value: abs(value - found))
    return {encode(value): value for value in domain.values}[found]


def quantized(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """KerasTuner's values as their recipes have them: numbers that survive its 32-bit messages."""
    found = dict(values)
    for name, row in space.searched.items():
        if not isinstance(row, Range) or row.whole:
            continue
        if row.scale != "log1m" and name in values:
            found[name] = row.rounded(values[name])
        elif (asked := f"1-{name}") in values:
            found[asked] = float(f"{1 - row.rounded(1 - values[asked]):.12g}")
    return found


def drawn(space: keras_tuner.HyperParameters, seeds: Iterator[int]) -> dict[str, Any]:
    """Random values for the rows that count, each drawn by a seed of its own."""
    hp = _no_hyperparameters()
    for row in space.space:  # parents come before their children
        hp.merge([row])
        if hp.is_active(row):
            hp.values[row.name] = row.random_sample(next(seeds))
    return hp.values


def _no_hyperparameters() -> keras_tuner.HyperParameters:
    startup.load()  # before KerasTuner does, which would let TensorFlow speak
    import keras_tuner

    return keras_tuner.HyperParameters()
