"""Networks as tables for the terminal: `kcnn list` and `kcnn show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from kcnn import weights
from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.terminal import memory_text, shape_text, si

if TYPE_CHECKING:
    from kcnn.models.build import Card


def list_tables(pattern: str = "*") -> Group:
    """The registered networks that match `pattern`, a table for each task.

    Raises:
        InputError: Nothing matches.
    """
    names = registry.list_models(pattern)
    if not names:
        registry.lookup(pattern)  # says what is known, and what is near
    tasks: dict[str, list[registry.Entry]] = {}
    for name in sorted(names, key=_natural):
        entry = registry.lookup(name)
        tasks.setdefault(entry.task_name, []).append(entry)
    tables = [_list_table(task, entries) for task, entries in tasks.items()]
    tables[-1].caption = "MACs: multiply-accumulates of one image. Memory: weights in float32."
    tables[-1].caption_justify = "left"
    return Group(*tables)


def _list_table(task: str, entries: Sequence[registry.Entry]) -> Table:
    """From published figures; a network registered without is counted, which loads Keras."""
    table = Table(
        title=f"Networks for {task}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    numbers = ("classes", "parameters", "MACs", "memory")
    for title in ("name", "input", *numbers, "paper"):
        table.add_column(title, justify="right" if title in numbers else "left", no_wrap=True)
    for entry in entries:
        parameters, macs = entry.parameters, entry.macs
        if parameters is None or macs is None:
            from kcnn.models.build import card

            counted = card(entry.name)
            parameters, macs = counted.parameters, counted.macs
        table.add_row(
            entry.name,
            shape_text(entry.input_shape),
            str(entry.classes),
            f"{parameters:,}",
            si(macs),
            memory_text(4 * parameters),
            entry.paper,
        )
    return table


def weights_table(pattern: str = "*") -> Table:
    """Published weights of the networks that match `pattern`.

    Raises:
        InputError: Nothing matches.
    """
    rows = weights.list(pattern)
    if not rows:
        known = ", ".join(dict.fromkeys(row.network for row in weights.list()))
        raise InputError(f"No published weights match {pattern!r}; there are some of {known}.")
    table = Table(
        title="Published weights", title_justify="left", box=SIMPLE_HEAD, pad_edge=False,
        caption="kcnn.build(NAME, weights=TAG). top-1: per cent of ImageNet's validation images.",
        caption_justify="left",
    )  # fmt: skip
    for title in ("name", "tag", "top-1", "memory", "licence", "input", "source"):
        right = title in ("top-1", "memory")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in sorted(rows, key=lambda row: _natural(row.network)):
        parameters = registry.lookup(row.network).parameters
        batchnorm = " batchnorm=True" if row.options.get("batchnorm") else ""
        table.add_row(
            row.network + batchnorm, row.tag, f"{row.top1:.2f}",
            memory_text(4 * parameters) if parameters else "", row.licence, row.preprocessing,
            row.source,
        )  # fmt: skip
    return table


def show_tables(card: Card, batch_size: int = 32) -> Group:
    """A network layer by layer, its totals, and how it departs from its paper."""
    cost = card.cost
    table = Table(
        title=f"{card.name}  {card.paper}",
        title_justify="left",
        show_footer=True,
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("layer", "total")
    table.add_column("kind")
    table.add_column("output")
    table.add_column("parameters", f"{cost.parameters:,}", justify="right")
    table.add_column("MACs", f"{'≥ ' * bool(cost.uncounted)}{si(cost.macs)}", justify="right")
    table.add_column("field", justify="right")
    table.add_column("stride", justify="right")
    for row in cost.layers:
        table.add_row(
            row.name,
            row.kind,
            shape_text(row.output_shape),
            f"{row.parameters:,}" if row.parameters else _fixed(row.fixed_parameters),
            "?" if row.macs is None else si(row.macs) if row.macs else "",
            "all" if row.receptive_field is None else str(row.receptive_field),
            "" if row.stride is None else str(row.stride),
        )
    return Group(table, _totals(card, batch_size))


def _totals(card: Card, batch_size: int) -> Table:
    cost = card.cost
    totals = Table.grid(padding=(0, 2))
    totals.add_column(style="bold cyan")
    totals.add_column(overflow="fold")
    fixed = f", {cost.fixed_parameters:,} more that are not trained" * bool(cost.fixed_parameters)
    totals.add_row("parameters", f"{cost.parameters:,} trainable{fixed}")
    totals.add_row("weights", f"{memory_text(cost.weight_memory)} in float32")
    totals.add_row("activations", f"{memory_text(cost.activation_memory())} for one image")
    totals.add_row(
        "training",
        f"about {memory_text(cost.training_memory(batch_size))} for a batch of {batch_size}: "
        f"weights, gradients, momentum, activations",
    )
    if cost.uncounted:
        totals.add_row(
            "MACs", f"without {', '.join(cost.uncounted)}: what these compute is not known"
        )
    for option, choice in card.choices.items():
        totals.add_row(option, f"{choice}, at {shape_text(card.input_shape)}")
    for index, note in enumerate(card.notes):
        totals.add_row("" if index else "notes", Text(note))
    return totals


def _fixed(parameters: int) -> str:
    return f"({parameters:,})" if parameters else ""


def _natural(name: str) -> tuple[str, int, str]:
    """resnet20 before resnet110."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0), name
