"""The network in a `.keras` file, `config.json`, checked before Keras makes anything of it."""

from __future__ import annotations

import json
import re
from typing import Any

from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.storage.files import check_values
from kcnn.storage.refusals import AGAIN, CODE, MADE_UP, OUTSIDE, brief

#: Values in a config: a network of a thousand layers has a fiftieth; vocabularies more.
_MOST_VALUES = 2**21
#: Objects that Keras would make: layers, initialisers, policies. ResNet-1202 has 40,000.
_MOST_OBJECTS = 60_000
#: Numbers up to here are harmless in a network, as sizes and in loops.
_HARMLESS = 2**24
#: Numbers of any size are harmless under these names.
_ANY_SIZE = re.compile(
    r"seed|salt|value|scale|offset|mean|variance|steps?$|iterations|token|vocabulary|boundaries|"
    r"(^|_)id$"
)
#: NumPy would also take <U1000000000, a letter in 4 GB.
_DTYPE = re.compile(r"bool|string|b?float\d+\w*|u?int\d+|complex\d+")
#: What a function may be that a network calls; a name elsewhere, such as in `keras.applications`,
#: is a call of whatever it is.
_FUNCTIONS = (
    "activations", "initializers", "losses", "metrics", "regularizers", "constraints", "ops",
)  # fmt: skip
#: Among these, functions that make objects of what they are told.
_MAKERS = ("get", "deserialize", "serialize")
#: Objects that Keras makes by itself, without looking for a class.
_PLAIN = (
    "__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__",
    "__typespec__",
)  # fmt: skip


def check_config(text: bytes, stored: int) -> None:
    """Refuse a network with code in it, or with numbers that its weights do not bear out.

    Args:
        text: `config.json`.
        stored: Bytes of weights in the file.

    Raises:
        InputError: With what it has, or declares.
        ValueError, TypeError: It is no JSON, or no network.
    """
    check_values(text, _MOST_VALUES)
    nodes, objects = [json.loads(text)], 0
    if not isinstance(nodes[0], dict):
        raise TypeError(f"a {type(nodes[0]).__name__} instead of a network")
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            objects += "class_name" in node
            if objects > _MOST_OBJECTS:
                raise InputError(f"it declares more than {_MOST_OBJECTS:,} objects. {MADE_UP}")
            _check_node(node, stored)
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


def _check_node(node: dict[str, Any], stored: int) -> None:
    if "class_name" not in node:
        return  # no object, but arguments of one
    kind, config = node["class_name"], node.get("config")
    described = config if isinstance(config, dict) else {}
    if kind == "__lambda__":
        raise InputError(CODE)
    if kind in ("__numpy__", "__tensor__") and not _DTYPE.fullmatch(str(described.get("dtype"))):
        raise InputError(f"it has an array of {brief(described.get('dtype'), 80)!r}. {MADE_UP}")
    module = str(node.get("module") or "")
    if kind not in _PLAIN and module.split(".")[0] == "keras":
        _check_name(module, config if kind == "function" else kind)
    if isinstance(config, dict) and (module or "keras").split(".")[0] == "keras":
        for key, value in config.items():
            number = max((abs(n) for n in _numbers(value)), default=0)
            if number > max(stored, _HARMLESS) and not _ANY_SIZE.search(key):
                raise InputError(
                    f"its {brief(kind, 80)} declares {brief(key, 80)}={_shown(value)}, but the "
                    f"file holds {stored:,} bytes of weights. {MADE_UP}"
                )
    for call in node.get("inbound_nodes") or []:
        # Keras records calls on symbolic tensors only; others would compute here and now.
        if not call or (isinstance(call, dict) and not _symbolic(call)):
            raise InputError(f"its {brief(kind, 80)} is called on no input. {AGAIN}")


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else brief(value, 80)


def _numbers(value: Any) -> list[int]:
    """The whole numbers of an argument that is one, or a list of some: a size, sizes, strides."""
    listed = value if isinstance(value, list) else [value]
    return [n for n in listed if isinstance(n, int) and not isinstance(n, bool)]


def _check_name(module: str, name: Any) -> None:
    """Refuse a name of Keras' that is neither a class nor a function of a network.

    Keras hands on whatever has the name, and the first layer that is called calls it.
    """
    found: Any = keras
    for part in [*module.split(".")[1:], name]:
        if not isinstance(part, str) or part.startswith("_"):
            found = None
            break
        found = getattr(found, part, None)
    if found is None or isinstance(found, type):
        return  # Keras refuses what it does not find, and what is no class of a network
    of_network = module.split(".")[1:2] and module.split(".")[1] in _FUNCTIONS
    if not of_network or name in _MAKERS:
        raise InputError(
            f"it names {brief(f'{module}.{name}', 120)!r}, which is no activation, initialiser, "
            f"loss, metric, regulariser, constraint or operation. {OUTSIDE}"
        )


def _symbolic(call: Any) -> bool:
    """Whether a symbolic tensor is among the arguments of a call."""
    if isinstance(call, dict):
        if "class_name" in call:
            return call["class_name"] == "__keras_tensor__"
        call = list(call.values())
    return isinstance(call, list) and any(map(_symbolic, call))
