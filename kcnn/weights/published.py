"""Weights that others have trained and published, under licences that allow any use.

Accuracies are of the 50,000 validation images of ImageNet, the centre 224×224 of 256 (of 0.95 of
the picture for a1), as the sources' own tables have them. Imports no Keras, so that
`kcnn list --weights` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kcnn.errors import InputError

#: What is taken where a tag does not say which.
_BEST_KNOWN = "imagenet"

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_TORCHVISION = "BSD-3-Clause"


@dataclass(frozen=True)
class Published:
    """A network's weights: a file somewhere, and how it was trained."""

    network: str
    tag: str
    top1: float  #: per cent
    licence: str
    repository: str | None = None  #: of timm, on huggingface.co
    address: str | None = None  #: of Keras' file
    md5: str | None = None  #: of Keras' file
    without_top: tuple[str, str] | None = None  #: address and MD5 of Keras' file without a top
    preprocessing: str = "torch"
    options: Mapping[str, Any] = field(default_factory=dict)  #: of the builder, that they need
    classes: int = 1000

    @property
    def source(self) -> str:
        """Where it is, for people."""
        return f"huggingface.co/{self.repository}" if self.repository else "keras.applications"


def _timm(network: str, recipe: str, tag: str, top1: float, licence: str = _TORCHVISION,
          *, name: str | None = None, **options: Any) -> Published:  # fmt: skip
    repository = f"timm/{name or network}.{recipe}_in1k"
    return Published(network, tag, top1, licence, repository, options=options)


def _keras(network: str, top1: float, licence: str, path: str, md5: str, path_without: str,
           md5_without: str, **options: Any) -> Published:  # fmt: skip
    return Published(
        network, "imagenet-keras", top1, licence, None, f"{_KERAS}/{path}", md5,
        (f"{_KERAS}/{path_without}", md5_without), "caffe", options,
    )  # fmt: skip


_VGG_FILE = "{0}/{0}_weights_tf_dim_ordering_tf_kernels{1}.h5"
_RESNET_FILE = "resnet/{0}_weights_tf_dim_ordering_tf_kernels{1}.h5"

#: For each network the best known first.
PUBLISHED: tuple[Published, ...] = (
    *(
        _timm(f"vgg{depth}", "tv", "imagenet-tv1", top1)
        for depth, top1 in ((11, 69.020), (13, 69.928), (16, 71.592), (19, 72.376))
    ),
    *(
        _timm(f"vgg{depth}", "tv", "imagenet-tv1", top1, name=f"vgg{depth}_bn", batchnorm=True)
        for depth, top1 in ((11, 70.370), (13, 71.586), (16, 73.360), (19, 74.218))
    ),
    *(
        _timm(f"resnet{depth}", "tv", "imagenet-tv1", top1)
        for depth, top1 in (
            (18, 69.758), (34, 73.314), (50, 76.130), (101, 77.374), (152, 78.312)
        )
    ),
    _timm("resnet18", "a1", "imagenet-a1", 71.50, "Apache-2.0"),
    _timm("resnet50", "a1", "imagenet-a1", 80.38, "Apache-2.0"),
    _keras("vgg16", 71.3, "CC-BY-4.0", _VGG_FILE.format("vgg16", ""),
           "64373286793e3c8b2b4e3219cbf3544b", _VGG_FILE.format("vgg16", "_notop"),
           "6d6bbae143d832006294945121d1f1fc"),
    _keras("vgg19", 71.3, "CC-BY-4.0", _VGG_FILE.format("vgg19", ""),
           "cbe5617147190e668d6c5d5026f83318", _VGG_FILE.format("vgg19", "_notop"),
           "253f8cb515780f3b799900260a226db6"),
    *(
        _keras(f"resnet{depth}", top1, "MIT", _RESNET_FILE.format(f"resnet{depth}", ""), md5,
               _RESNET_FILE.format(f"resnet{depth}", "_notop"), without, stride_in="1x1")
        for depth, top1, md5, without in (
            (50, 74.9, "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
            (101, 76.4, "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
            (152, 76.6, "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
        )
    ),
)  # fmt: skip


def is_tag(weights: Any) -> bool:
    """Whether that is the name of published weights rather than a path."""
    return isinstance(weights, str) and weights.partition("-")[0] == _BEST_KNOWN


def find(network: str, tag: str, options: Mapping[str, Any]) -> Published:
    """The weights of a network with that tag.

    Args:
        network: A registered name.
        tag: "imagenet" for the best known, or "imagenet-tv1" and so on.
        options: As the user gave them to the builder: `batchnorm` chooses between two files.

    Raises:
        InputError: There are none, or they need other options than the given ones.
    """
    rows = [row for row in PUBLISHED if row.network == network]
    wanted = [row for row in rows if tag in (_BEST_KNOWN, row.tag)]
    normalised = bool(options.get("batchnorm", not network.startswith("vgg")))
    if network.startswith("vgg"):
        wanted = [row for row in wanted if bool(row.options.get("batchnorm")) == normalised]
    if not wanted:
        tags = ", ".join(dict.fromkeys(["imagenet", *(row.tag for row in rows)]))
        known = (
            f"Those of {network} are {tags}."
            if rows
            else f"There are none of {network}; kcnn list --weights names the networks that have. "
            f"Of torchvision's other networks, save the state_dict as .safetensors and pass its "
            f"path with preprocessing='torch'."
        )
        raise InputError(f"No published weights {tag!r} for {network} with these options. {known}")
    row = wanted[0]
    for name, value in row.options.items():
        if name in options and options[name] != value:
            raise InputError(
                f"The weights {row.tag} of {network} need {name}={value!r}; received "
                f"{options[name]!r}. Leave it out."
            )
    return row
