"""Copy run folders into a folder or a ``.zip`` to share them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from toolkit.foundation.documents import Unfit, open_file
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.foundation.files import write_output
from toolkit.runs.contents import utf8_name
from toolkit.runs.folder import RunFolder


def export_runs(runs: Iterable[RunFolder], output: Path, extra: Mapping[str, str]) -> tuple[int, list[str]]:
    """Copy runs' folders, without locks and other hidden files, into a ``.zip`` or a new folder.

    Args:
        runs: folders with distinct names.
        output: ends in ``.zip``, or does not exist yet.
        extra: further files: name -> text.

    Returns:
        Bytes copied, and the names left out: links, which could lead to any file, pipes and other special files.

    Raises:
        UsageError: the output folder exists, or two runs have the same name.
        WorkError: the output cannot be written, or a file cannot be read.
    """
    output = Path(os.path.realpath(output))
    files: dict[str, Path] = {}
    left_out: list[str] = []
    for run in runs:
        if any(name.startswith(f"{run.shown_name}/") for name in files):
            raise UsageError(f"two runs are named {run.name}: export them one by one")
        for path in _visible_files(run.path):
            name = utf8_name(f"{run.name}/{path.relative_to(run.path).as_posix()}")
            if stat.S_ISREG(path.lstat().st_mode):
                files[name] = path
            else:
                left_out.append(name)
    try:
        if output.suffix.lower() == ".zip":
            write_output(output, lambda file: _zip(file, files, extra))
        elif output.exists():
            raise UsageError(f"{output} exists: choose a new folder, or a name that ends in .zip")
        else:
            _copy(output, files, extra)
    except Unfit as error:  # a file was replaced meanwhile
        raise WorkError(f"a file of these runs cannot be read: {error}") from error
    return sum(path.stat().st_size for path in files.values()), left_out


def _visible_files(folder: Path) -> Iterator[Path]:
    """Everything below a folder except folders and hidden files; links to folders are listed, not followed."""
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(name for name in folders if name not in links)
        yield from (Path(root) / name for name in sorted([*names, *links]) if not name.startswith("."))


def _zip(file: IO[bytes], files: Mapping[str, Path], extra: Mapping[str, str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in extra.items():
            archive.writestr(name, text)
        for name, path in files.items():
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open_file(path, follow=False) as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target)


def _copy(output: Path, files: Mapping[str, Path], extra: Mapping[str, str]) -> None:
    """Fill a temporary folder, and rename it once it is complete."""
    building = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        building.mkdir(parents=True)
        for name, path in files.items():
            target = building / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_file(path, follow=False) as source, open(target, "xb") as copy:
                shutil.copyfileobj(source, copy)
        for name, text in extra.items():
            (building / name).write_text(text)
        os.rename(building, output)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", output)) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(building, ignore_errors=True)
