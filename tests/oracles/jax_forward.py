"""Writes the outputs of CASES for the weights and images in a folder, on Keras' JAX backend.

`KERAS_BACKEND=jax python jax_forward.py FOLDER` reads `<case>.weights.h5` and `images.npz` and
writes `outputs.npz`. The test beside it calls it in a process of its own, since Keras has one
backend per process.
"""

import sys
from pathlib import Path

import numpy as np

#: case: (name, options); between them every building block of the families. Small, and of equal
#: widths: JAX compiles the initialiser of each shape of weights anew, which is most of the time.
CASES = {
    "mlp": ("mlp", {"width": 16, "depth": 4, "batchnorm": True, "residual": True}),
    "lenet5": ("lenet5", {"activation": "sigmoid"}),
    "lenet5_1998": ("lenet5_1998", {"classifier_activation": None}),
    "alexnet": ("alexnet", {"input_shape": (67, 67, 3), "groups": 2, "lrn": True, "classes": 10}
                | {"widths": (8, 8, 8, 8, 8), "hidden": (8, 8)}),
    "vgg": ("vgg11", {"input_shape": (32, 32, 3), "batchnorm": True, "residual": True}
            | {"widths": (8, 8, 8, 8, 8), "hidden": (8,), "classifier_activation": None}),
    "resnet": ("resnet50", {"input_shape": (65, 65, 3), "preact": True, "output_stride": 8}
               | {"depths": (1, 2, 1), "widths": (8, 8, 8), "classes": 10}
               | {"classifier_activation": None}),
    "resnet_cifar": ("resnet20", {"input_shape": (17, 12, 2), "depths": (1, 1, 1)}),
    "unet": ("unet", {"input_shape": (44, 52, 3), "width": 8, "depth": 1, "padding": "valid"}),
    "unet_resnet": ("unet", {"input_shape": (32, 64, 3), "backbone": "resnet20", "width": 8}),
    "fcn": ("fcn", {"input_shape": (32, 64, 3), "backbone": "vgg11", "width": 8, "hidden": (8,)}),
}  # fmt: skip


def forward(folder: Path) -> None:
    import keras

    import kcnn

    assert keras.backend.backend() == "jax"
    outputs = {}
    with np.load(folder / "images.npz") as images:
        for case, (name, options) in CASES.items():
            model = kcnn.build(name, weights=folder / f"{case}.weights.h5", **options)
            outputs[case] = model.predict(images[case], verbose=0)
    assert "tensorflow" not in sys.modules
    np.savez(folder / "outputs.npz", **outputs)


if __name__ == "__main__":
    forward(Path(sys.argv[1]))
