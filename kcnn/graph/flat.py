"""Any functional or sequential model as one flat list of calls, nested models looked into.

What is inside a network (a layer's map, the logits in front of its softmax, how far a value sees)
is asked of its calls in order, each with the symbolic tensors that go in and come out. The layers
are those of the model, called once more on a new input: nothing is copied, and a change of the
weights is seen.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kcnn.errors import InputError
from kcnn.graph.modes import settled
from kcnn.graph.outputs import activation_of, passes
from kcnn.graph.walk import is_model, operations
from kcnn.startup import keras
from kcnn.storage.refusals import brief


@dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operation between layers."""

    operation: keras.Operation
    inputs: tuple[Any, ...]  #: symbolic
    output: Any  #: symbolic; of several outputs the first

    @property
    def name(self) -> str:
        """Of the layer."""
        return self.operation.name

    @property
    def kind(self) -> str:
        """The layer's class."""
        return type(self.operation).__name__


@dataclass(frozen=True)
class Flat:
    """A model's calls in the order of its graph."""

    name: str
    input: Any  #: symbolic (N, H, W, C)
    output: Any  #: symbolic
    calls: tuple[Call, ...]
    ending: Literal["softmax", "sigmoid", "linear"] | None  #: of the model, also where left out

    def find(self, layer: str | keras.layers.Layer) -> Call:
        """The call of a layer; of one that is called several times, the last.

        Args:
            layer: Its name, as `summary` shows it, in nested models too; or the layer itself.

        Raises:
            InputError: There is none; with those of a name like it.
        """
        if not isinstance(layer, str):
            found = [call for call in self.calls if call.operation is layer]
        else:
            found = [call for call in self.calls if call.name == layer]
        if not found:
            said = layer if isinstance(layer, str) else getattr(layer, "name", type(layer).__name__)
            raise InputError(f"{self.name} has no layer {said!r}; it has {self._names(said)}.")
        return found[-1]

    def model(self, outputs: Any) -> keras.Model:
        """A model from the input to symbolic tensors of these calls, with the same layers."""
        return keras.Model(self.input, outputs, name=f"inside_{self.name}")

    def narrow(self) -> list[Call]:
        """The calls whose output is a map (N, H, W, C) through which all that follows goes."""
        uses = Counter(id(x) for call in self.calls for x in call.inputs)
        uses[id(self.output)] += 1
        open_ways, found = Counter({id(self.input): uses[id(self.input)]}), []
        for call in self.calls:
            open_ways -= Counter(id(x) for x in call.inputs)  # drops what is used up
            open_ways[id(call.output)] = uses[id(call.output)]
            if len(call.output.shape) == 4 and set(+open_ways) == {id(call.output)}:
                found.append(call)
        return found

    def _names(self, said: str) -> str:
        names = [call.name for call in self.calls if isinstance(call.operation, keras.layers.Layer)]
        shown = [name for name in names if said.split("_")[0] in name] or names
        return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


_Key = tuple[Any, ...]
#: Made once for a model as it is: each making adds calls to its layers, which stay.
_MADE: weakref.WeakKeyDictionary[keras.Model, dict[_Key, Flat]] = weakref.WeakKeyDictionary()


def flat(model: keras.Model, shape: Sequence[int] | None = None, *, logits: bool = False) -> Flat:
    """The calls of `model`.

    Args:
        model: Functional or sequential, built, with one input and one output.
        shape: (H, W, C) of the images, where the model takes any size; None: as the model says.
        logits: Leave out the softmax or sigmoid with which the model ends, as a layer or as the
            activation of its last one.

    Raises:
        InputError: It is of a class of its own or not built; has several inputs or outputs, or
            layers of one name; does not take images of that shape; its softmax cannot be left out.
    """
    check(model)
    expected = model.inputs[0].shape[1:]
    given = tuple(expected if shape is None else shape)
    if len(given) != len(expected) or any(
        want is not None and want != got for want, got in zip(expected, given, strict=True)
    ):
        raise InputError(
            f"{model.name} takes images (N, {_text(expected)}), not (N, {_text(given)})."
        )
    key = (given, logits, *(id(layer) for layer in model.layers))
    made = _MADE.setdefault(model, {})
    if key not in made:
        made[key] = _recorded(model, given, logits)
    return made[key]


def check(model: keras.Model) -> None:
    """Refuse what has no graph of one image to one output.

    Raises:
        InputError: With what to do.
    """
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InputError(
            f"Looking inside needs a functional or sequential model that is built; received "
            f"{type(model).__name__} {getattr(model, 'name', '')!r}. Give a sequential one a "
            f"keras.Input; of a class of your own, the layers inside cannot be seen: build it with "
            f"keras.Model(inputs, outputs)."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"Looking inside needs one input and one output; {model.name} has "
            f"{len(model.inputs)} and {len(model.outputs)}. Give the part of interest: "
            f"keras.Model(model.inputs[0], model.outputs[0])."
        )
    inside = {
        id(o): o.name for o in operations(model) if not isinstance(o, keras.layers.InputLayer)
    }
    name, times = Counter(inside.values()).most_common(1)[0] if inside else ("", 0)
    if times > 1:
        raise InputError(
            f"Looking inside needs layers with names of their own; {model.name} has several layers "
            f"named {name!r}, in nested models. Build it anew, with another name for one of them."
        )


def _recorded(model: keras.Model, shape: tuple[int | None, ...], logits: bool) -> Flat:
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    while any(is_model(operation) for operation in plain.operations):  # one level at a time
        plain = _called(plain, plain.input, _opened)
    source = keras.Input(shape, dtype=plain.inputs[0].dtype)
    output, calls = _run(plain, source)
    place = _meant(output, calls)
    how = None if place is None else activation_of(calls[place].operation)
    if logits and how in ("softmax", "sigmoid"):
        output, calls = _run(plain, source, place)
    return Flat(plain.name, source, output, tuple(calls), how)


def _run(plain: keras.Model, source: Any, linear: int | None = None) -> tuple[Any, list[Call]]:
    """All calls on `source`, that of number `linear` without its softmax or sigmoid."""
    calls: list[Call] = []

    def record(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        taken = [x for x in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(x)]
        call = _linear(operation) if len(calls) == linear else operation
        output = call(*args, **settled(operation, kwargs))
        calls.append(Call(operation, tuple(taken), keras.tree.flatten(output)[0]))
        return output

    try:
        output = _called(plain, source, record).outputs[0]
    except ValueError as error:  # a window that is larger than what is left of the image
        raise InputError(
            f"{plain.name} does not take images (N, {_text(source.shape[1:])}): {brief(error)}"
        ) from error
    return output, calls


def _called(plain: keras.Model, source: Any, call: Callable[..., Any]) -> keras.Model:
    """`plain` on another input, `call` in place of each layer's own."""
    return keras.models.clone_model(
        plain, input_tensors=source, clone_function=lambda layer: layer, call_function=call
    )


def _opened(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """A nested model's layers in its place; other layers as they are."""
    return operation.call(*args, **kwargs) if is_model(operation) else operation(*args, **kwargs)


def _meant(output: Any, calls: Sequence[Call]) -> int | None:
    """The number of the call that decides what the outputs are; None: several, or the images."""
    makers = {id(call.output): number for number, call in enumerate(calls)}
    number = makers.get(id(output))
    while number is not None and passes(calls[number].operation):
        inputs = calls[number].inputs
        number = makers.get(id(inputs[0])) if len(inputs) == 1 else None
    return number


def _linear(operation: keras.Operation) -> Callable[..., Any]:
    """What an operation does in front of its softmax or sigmoid, with the weights that it has."""
    if not getattr(operation, "weights", ()):
        return lambda x, **_: keras.layers.Identity()(x)
    kind, layers = type(operation), keras.layers
    if (
        kind not in (layers.Dense, layers.Conv2D)
        or len(operation.weights) != 1 + operation.use_bias
    ):
        raise InputError(
            f"The {operation.name!r} layer ({kind.__name__}) ends the network with a softmax or "
            f"sigmoid that cannot be taken off it. Make it linear, with the activation as a layer "
            f"of its own behind it."
        )

    def compute(x: Any) -> Any:
        if kind is layers.Dense:
            y = keras.ops.matmul(x, operation.kernel)
        else:
            y = keras.ops.conv(
                x, operation.kernel, operation.strides, operation.padding,
                operation.data_format, operation.dilation_rate,
            )  # fmt: skip
        return y + operation.bias if operation.use_bias else y

    return lambda x, **_: keras.layers.Lambda(compute)(x)


def _text(shape: Sequence[int | None]) -> str:
    return ", ".join("any" if side is None else str(side) for side in shape)
