"""Bring a run folder to its result in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.foundation.progress import Progress, silent
from toolkit.runs.folder import RunFolder, training_slot
from toolkit.runs.usage import usage_recorded


def carry_out(run: RunFolder, work: Callable[[], dict[str, Any]], progress: Progress = silent) -> dict[str, Any]:
    """Bring a training's folder to its result, in the training slot of its parent folder; a finished one is only read.

    Args:
        run: the folder.
        work: does the work and gives the result, which it has written.
        progress: told about waiting.

    Raises:
        WorkError: another process is running it, or the work failed, which is logged in the folder.
    """
    if (result := run.result) is not None:
        return result
    with training_slot(run.path.parent, progress), run.running():
        if (result := run.result) is not None:  # finished by another process while this one waited
            return result
        with run.failures_logged(), usage_recorded(run.path / "environment.json"):
            run.raise_if_cancelled()
            return work()
