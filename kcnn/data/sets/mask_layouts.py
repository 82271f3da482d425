"""How folders of pictures with masks are laid out: pairs of files, by split.

`kcnn.data.sets.mask_folders` has the table of the layouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kcnn.data.sets.folders import SPLIT_PARTS, images_below, split_named
from kcnn.errors import InputError
from kcnn.storage.files import open_regular
from kcnn.terminal import counted

#: Names of folders, in small letters.
_IMAGES = ("images", "image", "imgs", "img")
_MASKS = ("masks", "mask", "labels", "annotations", "segmentations", "annot")
_MASK_SUFFIXES = (".png", ".bmp", ".gif")

# Everingham et al. 2010, table 1, behind the background; as the masks number them.
_VOC = """
background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike
person pottedplant sheep sofa train tvmonitor
"""
# Badrinarayanan et al. 2017, table 1, in the order of the masks of their tutorial.
_CAMVID = "sky building pole road pavement tree sign fence car pedestrian bicyclist unlabelled"

_MOST_BYTES = 2**22  # of a list


@dataclass
class Layout:
    """Pairs (picture, mask) of each split, relative to the root; what the masks' values are."""

    root: Path
    parts: dict[str, list[tuple[str, str]]]
    names: Sequence[str] | None = None
    values: Sequence[int] | None = None
    remarks: list[str] = field(default_factory=list)


def layout_of(root: Path) -> Layout | None:
    """Which pictures and masks a folder pairs, by the names in it; None where it is none of these.

    Raises:
        InputError: It has the folders of a layout, and not what belongs into them.
    """
    folders = _folders(root)
    inner = [name for name in folders if name.lower().startswith("voc")]
    if "JPEGImages" not in folders and len(inner) == 1:
        return layout_of(root / inner[0])
    if {"JPEGImages", "SegmentationClass"} <= folders.keys():
        return _listed(
            root, "JPEGImages", "SegmentationClass", "ImageSets/Segmentation", _VOC.split()
        )
    if "images" in folders and "trimaps" in _folders(root / "annotations"):
        names = ("pet", "background", "border")
        found = _listed(root, "images", "annotations/trimaps", "annotations", names)
        found.values = (1, 2, 3)
        return found
    if any(f"{name}annot" in folders for name in folders):
        parts = {
            part: _pairs(root, folder, f"{folder}annot")
            for part, folder in _named(folders).items()
            if f"{folder}annot" in folders
        }
        return Layout(root, parts, _CAMVID.split()) if parts else None
    return _by_stem(root, folders)


def _by_stem(root: Path, folders: Mapping[str, str]) -> Layout | None:
    """`images` beside `masks`: at the root, in each split, or with the splits in them."""
    if both := _two(folders):
        images, masks = both
        inside = _named(_folders(root / images))
        if inside and all(sub in _folders(root / masks) for sub in inside.values()):
            pairs = {p: _pairs(root, f"{images}/{s}", f"{masks}/{s}") for p, s in inside.items()}
            return Layout(root, pairs) if any(pairs.values()) else None
        if not _holds_masks(root, masks):
            return None
        return Layout(root, {"train": _pairs(root, images, masks)})
    parts = {}
    for part, sub in _named(folders).items():
        if both := _two(_folders(root / sub)):
            if not _holds_masks(root, f"{sub}/{both[1]}"):
                return None
            parts[part] = _pairs(root, *(f"{sub}/{one}" for one in both))
    return Layout(root, parts) if parts else None


def _two(folders: Mapping[str, str]) -> tuple[str, str] | None:
    lower = {name.lower(): name for name in folders}
    images = next((lower[name] for name in _IMAGES if name in lower), None)
    masks = next((lower[name] for name in _MASKS if name in lower), None)
    return (images, masks) if images and masks else None


def _holds_masks(root: Path, sub: str) -> bool:
    return any(path.lower().endswith(_MASK_SUFFIXES) for path in images_below(root, sub))


def _named(folders: Mapping[str, str]) -> dict[str, str]:
    """The folder of each split that has one."""
    return {part: name for name in sorted(folders, reverse=True) if (part := split_named(name))}


def _folders(root: Path) -> dict[str, str]:
    try:
        return {p.name: p.name for p in root.iterdir() if p.is_dir() and p.name[0] != "."}
    except OSError:
        return {}


def _pairs(root: Path, images: str, masks: str) -> list[tuple[str, str]]:
    """Pictures and masks of equal stems, below two folders.

    Raises:
        InputError: A picture has none, or several.
    """
    by_stem: dict[str, str] = {}
    for path in images_below(root, masks):
        if path.lower().endswith(_MASK_SUFFIXES):
            stem = _stem(path, masks)
            if stem in by_stem:
                raise InputError(f"{root}: {by_stem[stem]} and {path} are masks of one picture.")
            by_stem[stem] = path
    pairs, missing = [], []
    for path in images_below(root, images):
        stem = _stem(path, images)
        mask = by_stem.get(stem) or by_stem.get(f"{stem}_mask")
        pairs.append((path, mask or ""))
        if mask is None:
            missing.append(path)
    if missing:
        raise InputError(
            f"{root}: {len(missing)} of {len(pairs)} pictures have no mask of their stem below "
            f"{masks}/ ({', '.join(_MASK_SUFFIXES)}): {', '.join(missing[:10])}. Each needs one."
        )
    return pairs


def _stem(path: str, folder: str) -> str:
    return path.removeprefix(f"{folder}/").rpartition(".")[0]


def _listed(root: Path, images: str, masks: str, lists: str, names: Sequence[str]) -> Layout:
    """Pictures by the lists of a published set; all that have masks, where there are no lists."""
    by_stem = {_stem(path, images): path for path in images_below(root, images)}
    of_masks = {_stem(path, masks): path for path in images_below(root, masks)}
    found = Layout(root, {}, names)
    for part, candidates in SPLIT_PARTS.items():
        path = next((p for c in candidates if (p := root / lists / f"{c}.txt").is_file()), None)
        if path is None:
            continue
        stems = [line.split()[0] for line in lines_of(path) if line and line[0] != "#"]
        without = [s for s in stems if s not in by_stem or s not in of_masks]
        if without and part != "test":
            raise InputError(
                f"{path} lists {len(without)} pictures that have no file below {images}/, or no "
                f"mask below {masks}/: {', '.join(without[:10])}."
            )
        if without:  # VOC's test set is published without masks
            found.remarks.append(
                f"{counted(len(without), 'picture')} of {path.name} without masks left out"
            )
            stems = [s for s in stems if s not in set(without)]
        if stems:
            found.parts[part] = [(by_stem[s], of_masks[s]) for s in dict.fromkeys(stems)]
    both = [stem for stem in by_stem if stem in of_masks]
    if not found.parts:
        found.parts["train"] = [(by_stem[s], of_masks[s]) for s in both]
    listed = {image for pairs in found.parts.values() for image, _ in pairs}
    if left := sum(by_stem[s] not in listed for s in both):
        found.remarks.append(f"{counted(left, 'picture')} in no list left out")
    return found


def lines_of(path: Path) -> list[str]:
    """The lines of a list of names, in UTF-8, without what is blank around them.

    Raises:
        InputError: It is no text, or larger than such a list is.
    """
    with open_regular(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path} is larger than a list of names is ({_MOST_BYTES:,} bytes).")
    try:
        return [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}.") from error
