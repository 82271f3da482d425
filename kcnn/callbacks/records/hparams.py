"""TensorBoard's HParams tab: what was set, and what came of it, a row for each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: What HParams takes as a value.
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Column:
    """A figure of the table."""

    tag: str
    group: str  #: the run below the row's where it is written; "" for the row's own
    title: str
    description: str = ""


def write_columns(domains: Mapping[str, Any], columns: Iterable[Column]) -> None:
    """Declare the table, to the default writer of `tf.summary`.

    Args:
        domains: By name of what is set, the values that it may take (`hparams.api.Domain`), or
            None.
        columns: What is measured.
    """
    from tensorboard.plugins.hparams import api

    api.hparams_config(
        hparams=[api.HParam(name, domain) for name, domain in domains.items()],
        metrics=[
            api.Metric(c.tag, c.group, display_name=c.title, description=c.description or None)
            for c in columns
        ],
    )


def write_row(values: Mapping[str, Any], trial: str) -> None:
    """Write what is set in the run called `trial`, to the default writer of `tf.summary`."""
    from tensorboard.plugins.hparams import api

    plain = {n: v if isinstance(v, _PLAIN) else str(v) for n, v in values.items()}
    api.hparams(plain, trial_id=trial)
