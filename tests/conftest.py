"""Shared by all tests: a temporary cache and runs folder, and the real data if available."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded data, runs and Ray's token out of the user's folders; one cache, so the demo is drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALLRATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RECALLRATE_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("RAY_AUTH_MODE", "token")  # now, since Ray reads it on import
        patch.setenv("RAY_AUTH_TOKEN", "of-this-test-session")
        yield


@pytest.fixture(autouse=True)
def main_module_stays() -> Iterator[None]:
    """Restore ``__main__``, which AppTest replaces by its script and spawned processes would then run."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with tiny-imagenet-20, flowers17 and kodak."""
    folder = os.environ.get("RECALLRATE_DATA")
    if not folder:
        pytest.skip("set RECALLRATE_DATA to a folder with tiny-imagenet-20, flowers17 and kodak")
    return Path(folder)
