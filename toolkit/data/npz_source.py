def open_npz(path: Path) -> Source:
    """An npz in MedMNIST layout: ``train_images``, ``train_labels``, ``test_images``, ``test_labels``.

    Images are uint8 of shape (N, H, W) or (N, H, W, 3); labels are integers of shape (N,) or (N, 1).

    Raises:
        UsageError: pickled objects (nothing is executed), missing arrays, other shapes or types.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            wanted = [f"{split}_{kind}" for split in ("train", "test") for kind in ("images", "labels")]
            for name in wanted:
                if name in archive.files:
                    arrays[name] = archive[name]
        with zipfile.ZipFile(path) as members:
            marks = [f"{info.filename}:{info.CRC}:{info.file_size}" for info in members.infolist()]
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise UsageError(f"{path} is refused: it holds pickled objects, which could run code") from error
        raise UsageError(f"{path} is not a readable npz: {error}") from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{path} is not a readable npz: {error}") from error
    if "train_images" not in arrays or "train_labels" not in arrays:
        raise UsageError(f"{path}: expected train_images and train_labels, found {sorted(archive.files)}")
    entries = [entry for split in ("train", "test") for entry in _array_entries(arrays, split, path)]
    labels = sorted({entry.label for entry in entries if entry.split == "train"})
    if len(labels) < 2:
        raise UsageError(f"{path}: expected at least two classes, found {len(labels)}")
    if labels != list(range(len(labels))):
        raise UsageError(f"{path}: expected labels 0..{len(labels) - 1}, found {labels[:8]}...")
    entries = [entry for entry in entries if entry.label < len(labels)]
    notes = []
    if not any(entry.split == "test" for entry in entries):
        entries, note = hold_out(entries)
        notes.append(note)
    digest = hashlib.sha256("\n".join(marks).encode()).hexdigest()
    return Source(tuple(str(label) for label in labels), tuple(entries), digest, tuple(notes))


def _array_entries(arrays: dict[str, np.ndarray], split: str, path: Path) -> list[Entry]:
    if f"{split}_images" not in arrays:
        return []
    pixels = arrays[f"{split}_images"]
    labels = arrays.get(f"{split}_labels")
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)):
        raise UsageError(
            f"{path}: {split}_images must be uint8 of shape (N, H, W) or (N, H, W, 3), got {pixels.dtype} {pixels.shape}"
        )
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels is None or labels.ndim != 1 or len(labels) != len(pixels) or labels.dtype.kind not in "iu":
        raise UsageError(f"{path}: {split}_labels must be {len(pixels)} integers, one an image")
    return array_entries(split, pixels, labels)


