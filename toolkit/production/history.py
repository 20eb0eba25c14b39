"""The history of a bundle's monitor, one report per call. Imports no torch, because the app reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np

from toolkit.foundation.documents import Unfit, parse_json, read_file
from toolkit.foundation.errors import WorkError, describe_os_error
from toolkit.foundation.files import make_folder
from toolkit.production.facts import HistoryEntry, MonitorReport
from toolkit.production.manifest import STATE

HISTORY = "history.jsonl"


def history(bundle: Path) -> list[HistoryEntry]:
    """The reports of earlier calls, oldest first.

    Raises:
        WorkError: the history cannot be read.
    """
    try:
        lines = read_file(bundle / STATE / HISTORY).splitlines()
        return [parse_json(line) for line in lines if line.endswith(b"}")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", bundle / STATE / HISTORY)) from error
    except Unfit as error:
        raise WorkError(f"{bundle / STATE / HISTORY} cannot be read: {error}") from error


def append(bundle: Path, report: MonitorReport) -> None:
    """Add a report to the history, thinning out its readings.

    Raises:
        WorkError: the history cannot be written.
    """
    path = bundle / STATE / HISTORY
    rows = cast("list[dict[str, float]]", report["readings"])
    places = np.unique(np.linspace(0, len(rows) - 1, min(50, len(rows))).round().astype(int)).tolist()
    first = report["seen"] - len(rows)
    course = {
        "seen": [first + place + 1 for place in places],
        **{name: [rows[place][f"{name}_height"] for place in places] for name in report["heights"]},
    }
    kept = {name: value for name, value in report.items() if name != "readings"} | {"course": course}
    make_folder(path.parent)
    try:
        with open(path, "a") as file:
            file.write(json.dumps(kept) + "\n")
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error
