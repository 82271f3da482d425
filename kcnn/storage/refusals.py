"""What is said of files that are no models, and what to try."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kcnn.errors import InputError

ALLOWED = "Only models that Keras 3 saved with `model.save('NAME.keras')` are loaded."
AGAIN = "If it was downloaded or copied, get it again; otherwise save the model again."
MADE_UP = f"It is damaged, or made to fill up memory. {AGAIN}"
PICKLE = "Reading a pickle runs code from it: export the weights in the program that made it."
LEGACY = (
    "If you trust it, load it yourself with `keras.saving.load_model(PATH, compile=False)` and "
    "save it again with `model.save('NAME.keras')`."
)
BARE = (
    "Build the network for the weights and load them into it: `model = kcnn.build(NAME, ...); "
    "model.load_weights('NAME.weights.h5')`."
)
CODE = (
    f"it holds Python code (a Lambda layer, for example), which would run here. {ALLOWED} Without "
    f"code: make a layer of the function, or name it, register it with "
    f"keras.saving.register_keras_serializable, and save the model again."
)
OUTSIDE = (
    f"loading it would run code that comes with it, or read other files. {ALLOWED} Build the "
    f"network without this part, and save the model again."
)


@contextlib.contextmanager
def refusing(reason: str) -> Iterator[None]:
    """Turn what zipfile, json and h5py raise on a damaged file into an InputError."""
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise InputError("you may not read it. Change its permissions.") from error
    except Exception as error:
        raise InputError(f"{reason} ({brief(f'{type(error).__name__}: {error}')})") from error


def brief(text: object, length: int = 300) -> str:
    """One printable line: Keras quotes whole files, and files quote what they like."""
    line = "".join(c if c.isprintable() else " " for c in str(text)[: 4 * length])
    line = " ".join(line.split())
    return line if len(line) <= length else f"{line[:length]}..."
