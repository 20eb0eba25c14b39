"""Outputs to paths named by a user: links are followed, and only regular files are replaced."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from toolkit.foundation.errors import WorkError
from toolkit.foundation.files import append_to, write_atomically, write_output


def put(text: bytes) -> Callable[[IO[bytes]], int]:
    return lambda file: file.write(text)


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, put(b"through"))
    reader.join(30)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_devices_are_written_to_and_stay_devices(tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    write_output(Path("/dev/null"), put(b"away"))
    (tmp_path / "link").symlink_to("/dev/null")
    write_output(tmp_path / "link", put(b"away"))
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(WorkError, match="cannot write /dev/full: No space left"):
        write_output(Path("/dev/full"), put(b"x"))


@pytest.mark.parametrize("where", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
def test_a_descriptor_is_written_to_at_its_position(where: str, kind: str, tmp_path: Path) -> None:
    """An open file is not truncated: earlier output of the process stays before the new content."""
    ours: int | socket.socket
    if kind == "pipe":
        ours, theirs = os.pipe()
    elif kind == "socket":
        pair = socket.socketpair()
        ours, theirs = pair[0].detach(), pair[1].detach()
    else:
        theirs = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        ours = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        os.write(theirs, b"before, ")
        path = Path(where.format(theirs))
        if where == "link":
            path = tmp_path / "link"
            path.symlink_to(f"/dev/fd/{theirs}")
        write_output(path, put(b"now, "))
        os.write(theirs, b"after")
        assert os.read(ours, 99) == b"before, now, after"
    finally:
        os.close(ours)
        os.close(theirs)


def test_dev_stdout_follows_earlier_prints(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from toolkit.foundation.files import write_output\n"
        "print('first'); write_output(Path('/dev/stdout'), lambda file: file.write(b'second\\n')); print('third')"
    )
    for target in ("pipe", "file"):
        with open(tmp_path / "out", "wb") as out:
            done = subprocess.run(
                [sys.executable, "-c", code], stdout=subprocess.PIPE if target == "pipe" else out, check=True
            )
        printed = done.stdout if target == "pipe" else (tmp_path / "out").read_bytes()
        assert printed == b"first\nsecond\nthird\n"


def test_a_link_stays_a_link_and_its_target_is_written_or_created(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link, second = tmp_path / "far" / "file", tmp_path / "link", tmp_path / "second"
    link.symlink_to("far/file")
    second.symlink_to(link)
    write_output(second, put(b"made"))
    assert target.read_bytes() == b"made"
    inode = target.stat().st_ino
    write_output(link, put(b"anew"))
    assert target.read_bytes() == b"anew"
    assert target.stat().st_ino != inode, "atomically: whoever reads the old one goes on reading it"
    assert os.readlink(link) == "far/file"
    assert os.readlink(second) == str(link)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "file", "link", "second"]


def test_a_link_to_itself_and_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to-folder").symlink_to("folder")
    for name, told in (("loop", "Too many levels"), ("folder", "Is a directory"), ("to-folder", "Is a directory")):
        with pytest.raises(WorkError, match=told) as caught:
            write_output(tmp_path / name, put(b"x"))
        assert "\n" not in str(caught.value)
    with pytest.raises(WorkError, match="Bad file descriptor"):
        write_output(Path("/dev/fd/987"), put(b"x"))
    with pytest.raises(WorkError, match="Is a directory"):
        write_output(Path("/"), put(b"x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "loop", "to-folder"]


def test_a_partial_result_never_reaches_a_pipe(tmp_path: Path) -> None:
    ours, theirs = os.pipe()

    def fails(file: IO[bytes]) -> None:
        file.write(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_output(Path(f"/dev/fd/{theirs}"), fails)
    os.close(theirs)
    assert os.read(ours, 9) == b""
    os.close(ours)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_a_file_keeps_its_permissions_even_while_it_is_written(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    seen: list[int] = []

    def write(file: IO[bytes]) -> None:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        file.write(b"x")

    write_output(path, write)
    assert seen == [mode]
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_output(tmp_path / "new", put(b"x"))
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_name_of_maximum_length_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    write_output(path, put(b"x"))
    assert path.read_bytes() == b"x"


def test_the_toolkits_own_files_replace_links_and_are_never_appended_through_them(tmp_path: Path) -> None:
    outside, link = tmp_path / "outside", tmp_path / "link"
    outside.write_bytes(b"as it was")
    link.symlink_to(outside)
    with pytest.raises(WorkError, match="cannot write"):
        append_to(link)
    write_atomically(link, put(b"own"))
    assert (outside.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"as it was", b"own", False)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WorkError, match="not a regular file"):
        append_to(tmp_path / "pipe")
