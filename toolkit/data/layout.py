"""Which folders of a dataset are its splits and which are its classes: by their usual names, or as the user says.

Nothing is guessed silently. Splits may have any of the usual names, in any case, alone or combined with a common word
(``seg_train`` and ``seg_test``). Folders that look like splits, by name or because they contain the same folders, or
like annotations, but fit no known layout are refused; the error says how they were read and how to override that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from toolkit.data.names import printable_name
from toolkit.data.spec import EVERYTHING, SplitFolders, parts_of
from toolkit.data.tree import Parts, Tree, printable_path
from toolkit.foundation.errors import UsageError

_TRAIN = ("train", "training", "trainset", "trainval")
_TEST = (
    "test",
    "testing",
    "tests",
    "testset",
    "val",
    "valid",
    "validation",
    "valset",
    "eval",
    "evaluation",
    "dev",
    "devset",
    "holdout",
)
"""In order of preference if there are several."""
_FILLERS = {"set", "data", "dataset", "split", "folder", "images", "image", "imgs", "img"}
"""Words ignored in the name of a split, like numbers: ``train2017``, ``test_set``."""
_ANNOTATIONS = {
    "masks",
    "annotations",
    "annotation",
    "labels",
    "groundtruth",
    "groundtruths",
    "gt",
    "segmentations",
    "trimaps",
    "segmentationmasks",
    "boundingboxes",
    "bboxes",
}
_BESIDE_ANNOTATIONS = {"mask", "label", "images", "image", "imgs", "img", "jpegimages"}
"""May be classes, unless all folders are these or annotations."""
_USUAL = {"train", "test", "val", "validation"}
_SAY = "name the folders with --train FOLDER --test FOLDER (or DATASET?train=FOLDER&test=FOLDER)"


@dataclass(frozen=True)
class ClassFolder:
    """A folder with images of one class.

    Attributes:
        split: ``train`` or ``test``.
        label: index into the layout's class names.
        parts: its path inside the dataset.
    """

    split: str
    label: int
    parts: Parts


@dataclass(frozen=True)
class Layout:
    """Class names, class folders ordered by split, label and path, and notes for the user."""

    class_names: tuple[str, ...]
    folders: tuple[ClassFolder, ...]
    notes: tuple[str, ...]


def lay_out(tree: Tree, named: SplitFolders | None = None) -> Layout:
    """The layout of a folder ``class/*``, or of splits that each contain ``class/*``.

    Args:
        tree: the dataset.
        named: folders of the splits if the user names them: then names are neither interpreted nor refused.

    Raises:
        UsageError: fewer than two classes, folders that ambiguously look like splits or annotations, or unreadable
            folders.
    """
    train, test, notes = _named_splits(tree, named) if named is not None else _found_splits(tree)
    found = _class_names(tree, train, test)
    if named is None:
        _refuse_annotations(found, tree.where)
        _refuse_inner_splits(tree, train, found)
        if not train:
            _refuse_alike(tree, found)
    names = {name: printable_name(name) for name in found}
    class_names = tuple(sorted(set(names.values())))
    _require_classes(class_names, tree)
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    folders = [ClassFolder("train", label_of[names[name]], (*train, name)) for name in found]
    tested = {} if test is None else {name: printable_name(name) for name in _class_names(tree, test, train)}
    _refuse_confusion(names | tested, tree.where)
    folders += [
        ClassFolder("test", label_of[class_name], (*(test or ()), name))
        for name, class_name in tested.items()
        if class_name in label_of
    ]
    notes += _name_notes(names, tested)
    in_order = sorted(folders, key=lambda folder: (folder.split != "train", folder.label, folder.parts))
    return Layout(class_names, tuple(in_order), tuple(notes))


def _name_notes(trained: dict[str, str], tested: dict[str, str]) -> list[str]:
    """Notes about class folders, given as folder names with their displayed class names."""
    notes = []
    if strangers := sorted(set(tested.values()) - set(trained.values())):
        notes.append(f"test classes without training images are left out: {', '.join(strangers)}")
    spellings: dict[str, set[str]] = {}
    for name, class_name in [*trained.items(), *tested.items()]:
        spellings.setdefault(class_name, set()).add(name)
    return notes + [
        f"the folders of {class_name} have {len(written)} spellings that look the same (NFC, NFD): treated as one class"
        for class_name, written in spellings.items()
        if len(written) > 1
    ]


def _class_names(tree: Tree, split: Parts, other: Parts | None) -> list[str]:
    """Names of a split's class folders, without the other split's folder if it lies among them."""
    inside = other is not None and len(other) > len(split) and other[: len(split)] == split
    return [name for name in tree.folders(split) if not (inside and other and name == other[len(split)])]


def _refuse_confusion(names: dict[str, str], where: str) -> None:
    """Refuse two folders that would be displayed alike although they differ in more than Unicode form."""
    first: dict[str, str] = {}
    for name, class_name in names.items():
        spelling = unicodedata.normalize("NFC", name)
        if first.setdefault(class_name, spelling) != spelling:
            raise UsageError(f"{where}: two folders would both be called {class_name}: rename one")


def _require_classes(class_names: Sequence[str], tree: Tree) -> None:
    if not class_names:
        count = sum(1 for _ in tree.files(()))
        found = f"{count} files elsewhere" if count else "no files"
        raise UsageError(f"{tree.where}: expected images as class/* or train/class/*, found {found}")
    if len(class_names) == 1:
        raise UsageError(f"{tree.where}: expected at least two classes, found only {class_names[0]!r}")


# -- splits named by the user ----------------------------------------------------------------------------------


def _named_splits(tree: Tree, named: SplitFolders) -> tuple[Parts, Parts | None, list[str]]:
    train, test = parts_of(named.train), None if named.test is None else parts_of(named.test)
    for option, parts in (("train", train), ("test", test)):
        at: Parts = ()
        for part in parts or ():
            if part not in (there := tree.folders(at)):
                held = ", ".join(map(printable_name, there)) or "no folders"
                raise UsageError(
                    f"{tree.where}: --{option} {printable_path(parts or ())}: no folder of that name contains files; "
                    f"{printable_path(at) or 'the dataset'} has {held}"
                )
            at = (*at, part)
    return train, test, []


# -- splits by their names -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Role:
    """A folder name read as a split: the split's word, and the other words of the name."""

    name: str
    word: str
    rest: tuple[str, ...]

    @property
    def trains(self) -> bool:
        return self.word in _TRAIN


def _role(name: str) -> _Role | None:
    """The role of a name with exactly one split word; None for any other name."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+", name)]
    splits = [word for word in words if word in _TRAIN or word in _TEST]
    if len(splits) != 1:
        return None
    return _Role(name, splits[0], tuple(word for word in words if word != splits[0] and word not in _FILLERS))


def _found_splits(tree: Tree) -> tuple[Parts, Parts | None, list[str]]:
    """The training folder, the test folder if any, and notes; the dataset itself, ``()``, if there are no splits."""
    tops = tree.folders(())
    roles = [role for role in map(_role, tops) if role is not None]
    trains, tests = [role for role in roles if role.trains], [role for role in roles if not role.trains]
    rests = {role.rest for role in trains} & {role.rest for role in tests}
    if rests:
        return _paired(tree, tops, trains, tests, rests)
    others = [name for name in tops if name not in {role.name for role in roles}]
    plain = [role for role in roles if not role.rest]
    if len(tops) == 1 and trains:
        return _inner(tree, (tops[0],)), None, []
    if tests and not trains and not others and len(plain) == len(tests):
        raise UsageError(f"{tree.where} has {_listed(tops)} but no train folder; {_SAY}")
    notes = []
    for role in plain:
        if not others or tree.folders((role.name,)) or any(map(_is_annotation, others)):
            _refuse_unknown(tree.where, roles, others)
        notes.append(f"{role.name}/ contains images like the other folders: treated as a class, not as a split")
    if trains and tests and not others:
        _refuse_unknown(tree.where, roles, others)
    return (), None, notes


def _paired(
    tree: Tree, tops: list[str], trains: list[_Role], tests: list[_Role], rests: set[tuple[str, ...]]
) -> tuple[Parts, Parts | None, list[str]]:
    """The only pair of splits whose names differ just in the split's word."""
    rest = min(rests)
    training = [role for role in trains if role.rest == rest]
    testing = sorted((role for role in tests if role.rest == rest), key=lambda role: _TEST.index(role.word))
    rivals = [role for role in testing if role.word == testing[0].word]
    if len(rests) > 1 or len(training) > 1 or len(rivals) > 1:
        _refuse_unknown(tree.where, [*trains, *tests], [])
    train, test = training[0].name, testing[0].name
    unused = [printable_name(name) for name in tops if name not in (train, test)]
    notes = []
    if not {train, test} <= _USUAL:
        notes.append(f"{printable_name(train)}/ is the training split, {printable_name(test)}/ the test split")
    if unused:
        notes.append(f"{printable_name(test)}/ is the test split; {', '.join(unused)}/ is not used")
    return _inner(tree, (train,)), _inner(tree, (test,)), notes


def _inner(tree: Tree, split: Parts) -> Parts:
    """A split's folder, or the single folder of the same name inside it, as in some archives."""
    inside = tree.folders(split)
    return (*split, inside[0]) if len(inside) == 1 and inside[0].lower() == split[-1].lower() else split


def _refuse_unknown(where: str, roles: Sequence[_Role], others: Sequence[str]) -> None:
    """Refuse the layout, naming the folders that look like splits and those that do not."""
    seen = [
        f"{_listed(role.name for role in roles if role.trains == trains)} as a {split} split"
        for trains, split in ((True, "training"), (False, "test"))
        if any(role.trains == trains for role in roles)
    ]
    unlike = f", {_listed(others)} as neither" if others else ""
    raise UsageError(
        f"{where}: read {', '.join(seen)}{unlike}, which is not a known layout; {_SAY}, "
        f"or --train {EVERYTHING} if every folder is a class"
    )


def _refuse_alike(tree: Tree, tops: Sequence[str]) -> None:
    """Refuse two or three folders that contain only the same folders, like splits of any name."""
    if len(tops) not in (2, 3):
        return
    inner = [set(tree.folders((name,))) for name in tops]
    shared = set.intersection(*inner)
    if len(shared) < 2 or shared not in inner:
        return
    if any(len(parts) == 2 for name in tops for parts in tree.files((name,))):
        return
    raise UsageError(
        f"{tree.where}: read {_listed(tops)} as splits, since each contains {_listed(sorted(shared))}; {_SAY}, "
        f"or --train {EVERYTHING} if every folder is a class"
    )


def _is_annotation(name: str) -> bool:
    return _squeezed(name) in _ANNOTATIONS | {"mask", "label"}


def _squeezed(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _refuse_annotations(names: Sequence[str], where: str) -> None:
    """Refuse folders that look like masks or labels of the others."""
    plain = [name for name in names if _squeezed(name) in _ANNOTATIONS]
    if not plain and names and all(_squeezed(name) in _BESIDE_ANNOTATIONS for name in names):
        plain = [name for name in names if _is_annotation(name)]
    if plain:
        rest = _listed(name for name in names if name not in plain) or "nothing"
        raise UsageError(
            f"{where}: read {_listed(plain)} as annotations next to {rest}, not as classes; {_SAY}, "
            f"or --train {EVERYTHING} if every folder is a class"
        )


def _refuse_inner_splits(tree: Tree, root: Parts, names: Sequence[str]) -> None:
    """Refuse classes that all contain a training and a test split."""
    if not names:
        return
    for name in names:
        roles = [role for role in map(_role, tree.folders((*root, name))) if role is not None and not role.rest]
        trains, tests = [one.name for one in roles if one.trains], [one.name for one in roles if not one.trains]
        if not trains or not tests:
            return
    raise UsageError(
        f"{tree.where}: read {_listed(trains)} and {_listed(tests)} inside every class as splits; expected them "
        f"outside, as train/class/*; --train {EVERYTHING} uses all images of a class for training"
    )


def _listed(names: Iterable[str]) -> str:
    found = [printable_name(name) for name in names]
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
