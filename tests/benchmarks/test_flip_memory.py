"""The short forms of ``flip_memory.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from flip_memory import flips
from memory_samples import small_memory


def test_a_flipped_bit_is_refused_reported_or_changes_nothing(tmp_path: Path) -> None:
    path = small_memory(tmp_path / "m.recall")
    met = flips(path, ((at, 1 << at % 8) for at in range(0, path.stat().st_size, 19)))
    assert min(met.values()) > 20


@pytest.mark.slow
def test_every_byte_flipped_is_refused_reported_or_changes_nothing(tmp_path: Path) -> None:
    path = small_memory(tmp_path / "m.recall")
    flips(path, ((at, 1 << at % 7) for at in range(path.stat().st_size)))
