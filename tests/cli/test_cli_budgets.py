"""Invalid budgets at every command that takes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.cli import run

COMMANDS = {
    "probe": ("--codecs", "png"),
    "advise": ("--codecs", "png"),
    "pilot": ("--codec", "png", "--steps", "1"),
    "memory": ("--codec", "png"),
}
FORMS = "262144, 256KiB, 1.5MB or 20img (raw images per class)"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("budget", "accepted"),
    [
        ("0", f"must be one byte or more, such as {FORMS}"),
        ("0img", f"must be one byte or more, such as {FORMS}"),
        ("-1MB", f"must be written as {FORMS}"),
        ("9000000TiB", f"must be less than 8 EiB, such as {FORMS}"),
    ],
)
def test_an_invalid_budget_is_refused_with_accepted_and_given_values(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, budget: str, accepted: str
) -> None:
    where = ("memory", "build", "demo", "-o", str(tmp_path / "m")) if command == "memory" else (command, "demo")
    assert run([*where, *COMMANDS[command], "--size", "16", f"--budget={budget}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    said = line.removeprefix("recallrate: ").removeprefix("budget: ")
    assert said == f"a size {accepted}, got {budget!r}"
    assert not (tmp_path / "m").exists()
