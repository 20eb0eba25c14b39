"""Estimated time and bytes of runs, shown before they start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.cli import console
from toolkit.foundation.sizes import format_size
from toolkit.pilots.contents import EstimateResult, EstimateRow

if TYPE_CHECKING:
    from toolkit.pilots.request import PilotRequest


def show_estimate(
    name: str, planned: Sequence[PilotRequest], folder: Path, slots: int, json: str | None, csv: str | None
) -> None:
    """List runs with their state, estimated hours and memory bytes.

    Args:
        name: name of the sweep or of the group of runs.
        planned: the runs.
        folder: where the run folders are created.
        slots: number of concurrent runs.
        json, csv: files to write the list to; None for none.
    """
    from toolkit.jobs.listing import list_runs
    from toolkit.pilots.estimate import estimate_runs
    from toolkit.runs.folder import RunFolder

    with console.progress_bar() as progress:
        estimates = estimate_runs(planned, list_runs(folder, "pilot"), progress)
    rows: list[EstimateRow] = []
    for one in planned:
        run = RunFolder(folder / one.run_name())
        state = run.status() if run.config_path.exists() else "new"
        estimate = estimates[one.run_name()]
        hours = 0.0 if state == "done" else estimate.seconds / 3600
        source = "finished runs" if estimate.from_runs else "warm-up"
        rows.append(
            {
                "run": run.name,
                "state": state,
                "hours": hours,
                "memory_bytes": estimate.memory_bytes,
                "estimated_from": source,
            }
        )
    hours, size = sum(row["hours"] for row in rows), sum(row["memory_bytes"] for row in rows)
    if "-" not in (json, csv):
        for row in rows:
            print(f"{row['state']:<10} {row['hours']:8.3f} h  {format_size(row['memory_bytes']):>10}  {row['run']}")
    left = sum(row["state"] != "done" for row in rows)
    console.stderr.print(
        f"{left} of {len(rows)} runs to do: about {hours / slots:.2f} hours with {slots} at once; memories take up to "
        f"{format_size(size)}",
        markup=False,
        soft_wrap=True,
    )
    facts: EstimateResult = {"sweep": name, "runs": rows, "hours": hours / slots, "memory_bytes": size}
    console.emit(facts, json, rows, csv)
