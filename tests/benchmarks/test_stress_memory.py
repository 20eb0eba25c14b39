"""The short form of ``stress_memory.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from stress_memory import stress


@pytest.mark.kills
def test_writers_and_readers_killed_at_random_lose_nothing_acknowledged(tmp_path: Path) -> None:
    found = stress(tmp_path, writers=2, readers=1, kills=8)
    assert found["commits_acknowledged"] > 8
