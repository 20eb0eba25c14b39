"""The app checks requests before queuing as the command line does."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.jobs.check import require_fit
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.request import PilotRequest
from toolkit.runs.request import Request

FITS = {"dataset": "demo", "size": 16, "initial": 5, "increment": 5, "codec": "raw", "budget": "4img", "steps": 1}


def asked(**changes: object) -> list[Request]:
    return [PilotRequest(make_pilot_config(**FITS | changes), seed) for seed in (0, 1)]


def test_invalid_requests_are_refused_with_the_same_message_as_on_the_command_line(tmp_path: Path) -> None:
    require_fit(asked(), tmp_path)
    with pytest.raises(UsageError) as here:
        asked(budget="100")[0].check()
    with pytest.raises(UsageError) as there:
        require_fit([*asked(), *asked(budget="100")], tmp_path)
    assert str(there.value) == str(here.value)
    assert not list(tmp_path.iterdir()), "nothing is written by a check"


def test_requests_with_a_folder_are_not_checked_again(tmp_path: Path) -> None:
    for request in asked(budget="100"):
        request.folder(tmp_path)
    require_fit(asked(budget="100"), tmp_path)
