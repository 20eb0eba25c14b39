from __future__ import annotations

from pathlib import Path

import pytest
from learned_jpeg_samples import ODD, Build

from toolkit.codecs.jpeg_tables import QuantisationTables, write_tables


@pytest.fixture
def spec(tmp_path: Path) -> Build:
    """Writes tables to ``NAME.json`` and gives the spec that names it, not canonical, with ordinary files."""

    def build(tables: QuantisationTables = ODD, options: str = "shared=no", name: str = "tables") -> str:
        write_tables(tmp_path / f"{name}.json", tables)
        return f"learned-jpeg:tables={tmp_path / name}.json" + (f",{options}" if options else "")

    return build
