"""Tuning: a search space, trials that are trainings, and a winner that a file repeats.

Names load on first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors see
    from kcnn.recipes.domains import Choice as Choice
    from kcnn.recipes.domains import Range as Range
    from kcnn.tuning.hypermodel import hypermodel as hypermodel
    from kcnn.tuning.options import Options as Options
    from kcnn.tuning.overrides import space_of as space_of
    from kcnn.tuning.records import Found as Found
    from kcnn.tuning.script import script as script
    from kcnn.tuning.search import tune as tune
    from kcnn.tuning.space import Space as Space

from kcnn.startup import on_first_use

#: name: the module that defines it
_HOME = {
    "Choice": "kcnn.recipes.domains",
    "Found": "kcnn.tuning.records",
    "Options": "kcnn.tuning.options",
    "Range": "kcnn.recipes.domains",
    "Space": "kcnn.tuning.space",
    "hypermodel": "kcnn.tuning.hypermodel",
    "script": "kcnn.tuning.script",
    "space_of": "kcnn.tuning.overrides",
    "tune": "kcnn.tuning.search",
}

__all__ = list(_HOME)

if not TYPE_CHECKING:  # which would take any name
    __getattr__, __dir__ = on_first_use(__name__, _HOME)
