"""Which folders are splits and which are classes: usual names in any case, and one line if it is ambiguous."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from data_samples import pngs, write_files, write_zip

from toolkit.data.catalog import absolute_spec, load_dataset, short_name
from toolkit.data.listing import list_training
from toolkit.data.sources import Source, open_folder, open_zip
from toolkit.data.spec import SplitFolders, split_spec, with_splits
from toolkit.foundation.errors import UsageError


def _split(train: str, test: str) -> dict[str, bytes]:
    return pngs({f"{train}/ant": 3, f"{train}/bee": 4, f"{test}/ant": 1, f"{test}/bee": 2})


def _counts(source: Source) -> Counter:
    return Counter((entry.split, source.class_names[entry.label]) for entry in source.entries)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("train", "valid"),
        ("Training", "Testing"),
        ("train", "eval"),
        ("train", "dev"),
        ("train", "Val"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train2017", "val2017"),
        ("TrainImages", "TestImages"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip"])
def test_the_usual_names_of_splits_are_known_in_any_case(form: str, train: str, test: str, tmp_path: Path) -> None:
    files = _split(train, test)
    if form == "folder":
        source = open_folder(write_files(tmp_path / "set", files))
        listing = list_training(str(tmp_path / "set"), 16, tmp_path / "store")
        assert listing.labels.tolist() == [0] * 3 + [1] * 4
    else:
        around = "all/" if form == "wrapped zip" else ""
        source = open_zip(write_zip(tmp_path / "set.zip", {around + name: data for name, data in files.items()}))
    assert source.class_names == ("ant", "bee")
    assert _counts(source) == {("train", "ant"): 3, ("train", "bee"): 4, ("test", "ant"): 1, ("test", "bee"): 2}


def test_an_unusual_pair_is_named_in_a_note_with_the_unused_folders(tmp_path: Path) -> None:
    files = {**_split("seg_train", "seg_test"), **pngs({"seg_pred": 2})}
    notes = open_folder(write_files(tmp_path, files)).notes
    assert notes[0] == "seg_train/ is the training split, seg_test/ the test split"
    assert "seg_pred/ is not used" in notes[1]


@pytest.mark.parametrize(
    ("counts", "taken"),
    [
        ({"train/ant": 3, "train/bee": 3, "masks/ant": 3, "masks/bee": 3}, "read train as a training split, masks"),
        ({"train": 3, "masks": 3}, "read train as a training split, masks as neither"),
        ({"images": 3, "masks": 3}, "read masks as annotations next to images"),
        ({"images": 3, "mask": 3}, "read mask as annotations next to images"),
        ({"ant": 3, "bee": 3, "Ground_Truth": 3}, "read Ground_Truth as annotations next to ant, bee"),
        ({f"{s}/{c}": 3 for s in ("train", "test") for c in ("images", "labels")}, "read labels as annotations"),
        ({"train/ant": 3, "train/bee": 3, "cat": 3}, "read train as a training split, cat as neither"),
        ({"train/ant": 3, "Train/bee": 3, "test/ant": 1}, "read Train, train as a training split, test as a test"),
        ({"train/ant": 3, "train/bee": 3, "other_test/ant": 1}, "read train as a .*, other_test as a test split"),
        ({"trainA/x": 3, "testA/x": 3, "trainB/x": 3, "testB/x": 3}, "read trainA, trainB as a training split"),
        ({"Lernen/ant": 3, "Lernen/bee": 3, "Probe/ant": 1, "Probe/bee": 1}, "read Lernen, Probe as splits, since"),
        ({f"{c}/{s}": 2 for c in ("ant", "bee") for s in ("train", "test")}, "read train and test inside every class"),
    ],
)
def test_unknown_folders_like_splits_or_masks_are_refused_in_one_line(
    counts: dict[str, int], taken: str, tmp_path: Path
) -> None:
    root = write_files(tmp_path / "set", pngs(counts))
    with pytest.raises(UsageError, match=taken) as caught:
        open_folder(root)
    assert "--train ." in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=taken):
        list_training(str(root), 16, tmp_path / "store")
    everything = open_folder(root, SplitFolders("."))
    assert len(everything.entries) == sum(counts.values())
    assert set(everything.class_names) == {name.split("/")[0] for name in counts}


@pytest.mark.parametrize(
    "classes",
    [("mask", "no_mask"), ("bullet_train", "steam_train"), ("crash_test", "test_tube", "tube"), ("ant/deep", "bee/x")],
)
def test_classes_whose_names_have_such_words_in_them_stay_classes(classes: tuple[str, ...], tmp_path: Path) -> None:
    source = open_folder(write_files(tmp_path, pngs(dict.fromkeys(classes, 4))))
    assert source.class_names == tuple(name.split("/")[0] for name in classes)
    assert len(source.notes) == 1  # the held-out images


def test_a_class_called_train_among_classes_is_one_and_noted(tmp_path: Path) -> None:
    source = open_folder(write_files(tmp_path, pngs({"bus": 4, "car": 4, "train": 4})))
    assert source.class_names == ("bus", "car", "train")
    assert source.notes[0] == "train/ contains images like the other folders: treated as a class, not as a split"


@pytest.mark.parametrize("form", ["folder", "zip", "wrapped zip"])
def test_the_user_names_the_splits_in_the_spec(form: str, tmp_path: Path, cache: Path) -> None:
    files = {**_split("Lernen", "Zur Pruefung/100%"), **pngs({"Reserve/ant": 5})}
    path = tmp_path / ("set" if form == "folder" else "set.zip")
    if form == "folder":
        write_files(path, files)
    else:
        around = "all/" if form == "wrapped zip" else ""
        write_zip(path, {around + name: data for name, data in files.items()})
    spec = with_splits(str(path), "Lernen", "Zur Pruefung/100%")
    dataset = load_dataset(spec, 16)
    assert (dataset.name, dataset.class_names, dataset.notes) == (spec, ("ant", "bee"), ())
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([0] * 3 + [1] * 4, [0, 1, 1])
    assert list_training(spec, 16, tmp_path / "store").labels.tolist() == [0] * 3 + [1] * 4
    held_out = load_dataset(with_splits(str(path), "Lernen", None), 16)
    assert (len(held_out.train), len(held_out.test)) == (5, 2)
    assert held_out.signature != dataset.signature


def test_a_test_split_inside_the_training_folder_is_not_a_class(tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "set", pngs({"ant": 3, "bee": 3, "later/ant": 1, "later/bee": 1}))
    dataset = load_dataset(with_splits(str(root), ".", "later"), 16)
    assert (dataset.class_names, len(dataset.train), len(dataset.test)) == (("ant", "bee"), 6, 2)


def test_a_spec_with_named_splits_is_kept_whole_and_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "my set", _split("A & B", "C"))
    monkeypatch.chdir(tmp_path)
    spec = with_splits("my set", "A & B", "C")
    kept = absolute_spec(spec)
    assert kept == absolute_spec(kept) == f"{tmp_path / 'my set'}?{spec.partition('?')[2]}"
    monkeypatch.chdir("/")
    assert split_spec(kept) == (str(tmp_path / "my set"), SplitFolders("A & B", "C"))
    assert short_name(kept) == "my set"
    assert json.loads(json.dumps(kept)) == kept


def test_a_folder_with_a_question_mark_in_its_name_is_opened(tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "what?train=x", pngs({"ant": 5, "bee": 5}))
    assert split_spec(str(root)) == (str(root), None)
    assert load_dataset(str(root), 16).class_names == ("ant", "bee")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("train=../other", "--train takes a folder inside the dataset, .* got '../other'"),
        ("train=/etc", "--train takes a folder inside the dataset"),
        ("train=", "--train takes a folder inside the dataset"),
        ("train=ant&test=ant", "name the same folder: ant"),
        ("test=ant", r"expected \?train=FOLDER or"),
        ("train=ant&valid=bee", r"expected \?train=FOLDER or"),
        ("train=ant&train=bee", r"expected \?train=FOLDER or"),
        ("train=wasp", "--train wasp: no folder of that name contains files; the dataset has ant, bee"),
        ("train=ant/x", "--train ant/x: no folder of that name contains files; ant has no folders"),
    ],
)
def test_missing_splits_are_refused(query: str, reason: str, tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "set", pngs({"ant": 5, "bee": 5}))
    with pytest.raises(UsageError, match=reason):
        load_dataset(f"{root}?{query}", 16)


@pytest.mark.parametrize("spec", ["demo?train=a", "torchvision:CIFAR10?train=a"])
def test_splits_are_named_of_folders_and_zips_only(spec: str, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"are for a folder or a \.zip, not for"):
        load_dataset(spec, 16)


def test_the_options_go_together_and_only_once() -> None:
    assert with_splits("demo", None, None) == "demo"
    with pytest.raises(UsageError, match="--test needs --train"):
        with_splits("set", None, "b")
    with pytest.raises(UsageError, match="already names its folders"):
        with_splits("set?train=a", "b", None)
