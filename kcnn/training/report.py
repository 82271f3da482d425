"""What a training shows: on the terminal with rich, in TensorBoard as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.callbacks.records.tensorboard import markdown
from kcnn.devices.names import device_name
from kcnn.figures import Figure
from kcnn.graph.cost import Cost, cost, sized
from kcnn.graph.modes import unsettled
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.runs.copies import table_of_copies
from kcnn.runs.directory import rates_text, versions
from kcnn.startup import keras
from kcnn.tasks.plan import Plan
from kcnn.tasks.problem import Problem
from kcnn.tasks.streams import SHUFFLED
from kcnn.tasks.task import Task, ranking
from kcnn.terminal import command, counted, shape_text, si, styled
from kcnn.training.loop.compiled import shown
from kcnn.training.setup import Setup


def header(console: Console, setup: Setup, model: keras.Model, directory: Path, start: int) -> None:
    """What is about to be trained, on what, where it goes, and from which step on."""
    recipe, problem = setup.recipe, setup.problem
    counts = cost(sized(model, setup.plan.network_shape))
    rows = {
        "model": f"{model.name}  {counts.parameters:,} parameters, {_macs(counts)} MACs an image",
        "data": f"{problem.name}  {_sizes(problem)}; {setup.task.describe(problem)}",
        "": problem.provenance,
        "images": _images(problem, setup.plan, recipe.evaluation_scale),
        "recipe": _recipe_line(recipe),
        "device": device_name(),
        "steps": _steps(recipe, setup.why_precision),
        "run": str(directory),
    }
    if chosen := _chosen(setup):
        rows["validation"] = chosen
    if recipe.backbone_weights is not None:
        rows["backbone"] = f"begins with the weights of {recipe.backbone_weights}"
    if setup.meaning is not None:
        rows["outputs"] = f"{setup.meaning}, as the outputs for real images say"
    if setup.own is not None and (layers := unsettled(setup.own)):
        rows["note"] = (
            f"model(x) runs all behind {', '.join(layers)} in training mode (keras#23166): call "
            f"model(x, training=False), or build it with {layers[0]}(x, training=False)"
        )
    if problem.fingerprint == SHUFFLED:
        rows["batches"] = (
            "other ones at each reading of the dataset: a run that is resumed goes on with others "
            "than it would have had. .shuffle(..., reshuffle_each_iteration=False) repeats them"
        )
    if problem.duplicates is None:
        rows["copies"] = "not known: the pictures of a stream are not compared"
    if recipe.rates:
        rows["rate"] = rates_text(recipe, setup.steps)
    if start:
        epoch, total = start // setup.steps, recipe.epochs * setup.steps
        rows["resumed"] = f"behind step {start:,} of {total:,}, in epoch {epoch + 1}"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan")
    grid.add_column(overflow="fold")
    for title, text in rows.items():
        grid.add_row(title, text)
    console.print(grid)
    if problem.duplicates is not None and (found := table_of_copies(problem.duplicates)):
        console.print()
        console.print(found)
    console.print()


def changed_versions(console: Console, recorded: Mapping[str, Any]) -> None:
    """Say where the run goes on with other software, or on another device, than it began with."""
    before = recorded["versions"] | {"device": recorded["device"]}
    now = versions() | {"device": device_name()}
    changed = [f"{n} {before[n]} → {now[n]}" for n in now if before.get(n) not in (None, now[n])]
    if changed:
        console.print(
            f"The bits may differ from those of an uninterrupted run: {', '.join(changed)}.",
            style="yellow",
        )


def _macs(counts: Cost) -> str:
    """At least so many, where layers are none of Keras' own."""
    return f"{'at least ' * bool(counts.uncounted)}{si(counts.macs)}"


def _steps(recipe: ResolvedRecipe, why_precision: str) -> str:
    parts = [f"{recipe.precision}{f' ({why_precision})' if why_precision else ''}"]
    if recipe.steps_per_execution > 1:
        parts.append(f"{recipe.steps_per_execution} in one graph call")
    return ", ".join(parts + ["XLA"] * recipe.jit)


def results(console: Console, setup: Setup, result: Mapping[str, Any], directory: Path) -> None:
    """The closing tables: figures on test and validation, what was kept, speed; the task's own."""
    task = setup.task
    table = Table(title="Result", title_justify="left", show_header=False)
    table.add_column(style="bold cyan")
    table.add_column(justify="right")
    for title, text in _figures(task, setup.monitor, result):
        table.add_row(title, text)
    kept = f"epoch {result['kept_epoch']} of {result['epochs']}"
    if snapshots := result.get("averaged_snapshots"):
        kept = f"average of {snapshots} snapshots"
    table.add_row("weights kept", kept)
    table.add_row("training", f"{result['seconds']:.1f} s")
    table.add_row("time per epoch", f"{result['seconds_per_epoch']:.2f} s")
    table.add_row("images per second", f"{result['images_per_second']:,.0f}")
    console.print()
    console.print(table)
    console.print()
    for own in task.tables(_details(result)):
        console.print(own)
        console.print()
    look = command("tensorboard", "--logdir", directory.parent)
    console.print(f"Look inside:  {look}", soft_wrap=True)


def _figures(task: Task, monitor: Figure, result: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    for figure in ranking(task):
        if (value := result[f"test_{figure.name}"]) is not None:
            style = "bold green" if figure is task.figures[0] else ""
            yield f"test {figure.label}", styled((figure.text(value), style))
    for figure in dict.fromkeys((*task.figures, monitor)):
        value = result[f"validation_{figure.name}"]
        yield f"validation {figure.label}", styled(figure.text(value))


def _details(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the task's evaluation added to the result, of the split that reports."""
    found: dict[str, Any] = {}
    for part in ("validation_", "test_"):
        named = {n.removeprefix(part): v for n, v in result.items() if n.startswith(part)}
        found |= {name: value for name, value in named.items() if value is not None}
    return found


def recipe_markdown(recipe: ResolvedRecipe) -> str:
    """The recipe as a Markdown table."""
    lines = ["| field | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in recipe.to_dict().items()]
    return "\n".join(lines)


def model_markdown(model: keras.Model, plan: Plan) -> str:
    """Layers with shapes and counts as a Markdown table."""
    counts = cost(sized(model, plan.network_shape))
    lines = ["| layer | kind | output | parameters | MACs |", "|---|---|---|--:|--:|"]
    lines += [
        f"| {markdown(row.name)} | {markdown(row.kind)} | {shape_text(row.output_shape)} "
        f"| {row.parameters:,} "
        f"| {'?' if row.macs is None else f'{row.macs:,}'} |"
        for row in counts.layers
    ]
    least = "≥ " * bool(counts.uncounted)
    lines.append(f"| **all** | | | **{counts.parameters:,}** | **{least}{counts.macs:,}** |")
    return "\n".join(lines)


def hparams(recipe: ResolvedRecipe) -> dict[str, Any]:
    """What HParams compares: model, data, and every field that is not simply off."""
    fields, off = recipe.to_dict(), Recipe().to_dict()
    named = {name: fields.pop(name) for name in ("model", "data", "seed")}
    free = ("name", "logs", "histograms", "health", "images_every", "skip_bad")
    for name in (*free, "select", "validation", "split_seed", "compiled", "rates"):
        fields.pop(name)
    named |= {name: _own(config) for name, config in recipe.compiled.items() if name != "optimizer"}
    if recipe.rates:
        named["rates"] = ", ".join(f"{rate:g} from step {step}" for step, rate in recipe.rates)
    changed = {n: value for n, value in fields.items() if value not in (off[n], "none")}
    return named | changed.pop("options", {}) | changed


def _sizes(problem: Problem) -> str:
    sizes = problem.sizes
    return (
        f"{sizes['train']:,} training, {sizes['validation']:,} validation, {sizes['test']:,} test"
    )


def _images(problem: Problem, plan: Plan, scale: float) -> str:
    shape = shape_text(plan.input_shape)
    if plan.multiple is not None:
        return f"windows of {shape}; evaluated whole, padded to multiples of {plan.multiple} pixels"
    if plan.resized_from:
        return f"{shape_text(plan.resized_from)} resized to {shape} inside the model"
    if problem.is_files:
        part = f"the middle at {scale:g} times that" if scale > 1 else "the middle"
        return f"{shape}, resized and cropped from photographs; evaluated: {part}"
    return shape


def _recipe_line(recipe: ResolvedRecipe) -> str:
    together = f", {recipe.accumulate} to a step" if recipe.accumulate > 1 else ""
    parts = [
        f"{counted(recipe.epochs, 'epoch')} of batches of {recipe.batch_size}{together}",
        f"{recipe.optimizer} at {recipe.learning_rate:g}, {recipe.schedule}",
    ]
    for name in ("weight_decay", "label_smoothing", "mixup", "cutmix"):
        if value := getattr(recipe, name):
            parts.append(f"{name.replace('_', ' ')} {value:g}")
    parts += [f"{n} {_own(c)}" for n, c in recipe.compiled.items() if n != "optimizer"]
    if recipe.clip_norm is not None:
        parts.append(f"gradients clipped to a norm of {recipe.clip_norm:g}")
    if recipe.balanced:
        parts.append("classes equally often")
    if recipe.swa_start is not None:
        rate = recipe.swa_learning_rate
        parts.append(f"averaged from {recipe.swa_start:.0%} on" + (f" at {rate:g}" if rate else ""))
    if recipe.ema is not None:
        parts.append(f"moving average {recipe.ema:g}")
    if recipe.augment != "none":
        scaled = f" at scales up to {recipe.scale:g}" if recipe.scale else ""
        parts.append(f"augmentation {recipe.augment}{scaled}")
    if recipe.colour:
        parts.append(f"colour {recipe.colour:g}")
    return ", ".join([*parts, *_beginning(recipe), f"seed {recipe.seed}"])


def _own(config: Any) -> str:
    """What was handed over: a loss, or metrics."""
    return ", ".join(map(shown, config)) if isinstance(config, list) else shown(config)


def _chosen(setup: Setup) -> str:
    """By which figures on validation what is decided, where that was asked for."""
    recipe, figure = setup.recipe, setup.awaited.label
    parts = []
    if recipe.monitor is not None and recipe.select == "best" and recipe.swa_start is None:
        parts.append(f"the weights of the best {setup.monitor.label} are kept")
    waited = "{} without a better {}"
    if recipe.schedule == "plateau":
        epochs = waited.format(counted(recipe.plateau_patience, "epoch"), figure)
        parts.append(f"the rate times {recipe.plateau_factor:g} after {epochs}")
    if recipe.early_stopping is not None:
        parts.append(
            f"stops after {waited.format(counted(recipe.early_stopping, 'epoch'), figure)}"
        )
    return "; ".join(parts)


def _beginning(recipe: ResolvedRecipe) -> list[str]:
    """What a network begins with, and what of it is trained, in a few words each."""
    parts = []
    if recipe.weights:
        parts.append(f"weights of {recipe.weights}")
    if recipe.freeze or recipe.until:
        until = "" if recipe.unfreeze_at is None else f" for {recipe.unfreeze_at:.0%} of the epochs"
        what = f"all up to {recipe.until}" if recipe.until else "backbone"
        parts.append(f"{what} frozen{until}")
    if recipe.backbone_rate is not None:
        parts.append(f"{recipe.backbone_rate:g} of the rate in the backbone")
    return parts


def _cell(value: Any) -> str:
    return "" if value is None else markdown(str(value))
