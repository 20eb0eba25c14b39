"""What every room's tests share: a cache and runs folder of their own, and the real data where there is some."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the processors; read when torch is first imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest

_MOST_WORKERS = 4
"""Each holds torch and a few data sets: 2 GB."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Files side by side in the whole suite only: the other selections measure, or start processes of their own."""
    whole = config.args_source == config.ArgsSource.TESTPATHS and config.getoption("markexpr").startswith("not ")
    return min(os.cpu_count() or 1, _MOST_WORKERS) if whole else 0


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded data, runs and Ray's token out of the user's folders; one cache, so the demo is drawn once."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"  # one for all workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECALLRATE_CACHE", str(cache))
        patch.setenv("RECALLRATE_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("RAY_AUTH_MODE", "token")  # here, since Ray reads it when it is first imported
        patch.setenv("RAY_AUTH_TOKEN", "of-this-test-session")
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with tiny-imagenet-20, flowers17 and kodak."""
    folder = os.environ.get("RECALLRATE_DATA")
    if not folder:
        pytest.skip("set RECALLRATE_DATA to a folder with tiny-imagenet-20, flowers17 and kodak")
    return Path(folder)
