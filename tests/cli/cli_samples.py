"""Call the command line as a script would."""

from __future__ import annotations

import pytest

from toolkit.cli import run


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err
