"""Which of a folder's JSON files are COCO's, of which splits; and where their images are."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from kcnn.data.sets.box_parts import Tree, join, refuse_missing, shown, split_of
from kcnn.errors import InputError
from kcnn.storage.files import open_regular

_ROBOFLOW = "_annotations.coco.json"
#: COCO's other annotations, which stand beside its boxes.
_OTHERS = re.compile(r"(captions|person_keypoints|panoptic|stuff|image_info|licen[cs]e)")
_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_HEAD = 2**16


def found(tree: Tree) -> tuple[dict[str, str], list[str]]:
    """By split, the path of its JSON relative to the root, "" for one without a split; the rest.

    Raises:
        InputError: Two for one split.
    """
    paths = [
        join(folder, name)
        for folder in ("", "annotations")
        for name in sorted(tree.files(folder))
        if name.endswith(".json") and not _OTHERS.match(name)
    ]
    beside = [join(folder, _ROBOFLOW) for folder in tree.folders("") if split_of(folder)]
    paths += [path for path in beside if tree.holds(path)]
    sure = [p for p in paths if _is_sure(p)]
    parts = defaultdict[str, list[str]](list)
    for path in sure or paths:
        named = split_of(path.removesuffix(f"/{_ROBOFLOW}").rpartition("/")[2])
        parts[named[0] if named else ""].append(path)
    chosen = {}
    for part, listed in parts.items():
        if (part or len(parts) == 1) and (coco := [p for p in listed if _looks(tree.root / p)]):
            if len(coco) > 1:
                raise InputError(
                    f"{tree.root} holds {' and '.join(coco[:3])}: only one of them can be the "
                    f"{part or 'whole'} {'split' if part else 'set'}. Move the others away."
                )
            chosen[part] = coco[0]
    return chosen, [path for path in paths if path not in chosen.values()]


def is_there(tree: Tree) -> bool:
    """Whether a folder holds COCO's JSON, by names, and by the files' beginnings and ends."""
    try:
        return bool(found(tree)[0])
    except InputError:  # too many of them
        return True


def _is_sure(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == _ROBOFLOW or (name.startswith("instances") and name.endswith(".json"))


def _looks(path: Path) -> bool:
    """Whether a JSON has one of COCO's lists, by its beginning and its end."""
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
            file.seek(max(file.seek(0, 2) - _HEAD, 0))
            tail = file.read(_HEAD)
    except (OSError, InputError):
        return False
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") and bool(_KEYS.search(head + tail))


def image_folder(tree: Tree, path: str, part: str, names: list[str]) -> str:
    """The folder in which the images of a JSON are.

    Raises:
        InputError: There is none, or some images are missing.
    """
    tried = dict.fromkeys(_candidates(tree, path, part))
    missing: dict[str, list[str]] = {}
    for folder in tried:
        missing[folder] = [name for name in names if not tree.has(join(folder, name))]
        if not missing[folder]:
            return folder
    best = min(missing, key=lambda folder: len(missing[folder]))
    if len(missing[best]) == len(names):
        places = ", ".join(f"{folder or '.'}/" for folder in list(tried)[:20])
        raise InputError(
            f"The images of {tree.root / path} are nowhere: {shown(names[0])} and {len(names) - 1} "
            f"more were looked for in {places} of {tree.root}."
        )
    listed = [join(best, name) for name in missing[best]]
    refuse_missing(listed, len(names), "images", tree.root / path)
    return best


def _candidates(tree: Tree, path: str, part: str) -> list[str]:
    own, _, name = path.rpartition("/")
    named = split_of(name) or split_of(own)
    folders = [*tree.folders(""), *(join("images", f) for f in tree.folders("images"))]
    folders = [f for f in folders if f != "annotations"]
    of = {f: split_of(f.rpartition("/")[2]) for f in folders}
    beside = [own] if own not in ("", "annotations") else []
    exact = [f for f in folders if named and of[f] == named]
    same = [f for f in folders if part and (of[f] or ("",))[0] == part]
    free = [f for f in folders if not part or of[f] is None]
    return [*beside, *exact, *same, *(f for f in free if f == "images"), own, "", *free]
