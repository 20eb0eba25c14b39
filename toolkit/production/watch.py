"""Run a folder of new images through a bundle's monitor; the report as facts and as Prometheus text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np

from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.production.bundle import load_bundle
from toolkit.production.facts import MonitorReport, ReadingRow
from toolkit.production.history import append
from toolkit.production.monitor import Reading, read_folder

_CHUNK = 50


def watch_folder(bundle: Path, folder: Path, *, fresh: bool = False, progress: Progress = silent) -> MonitorReport:
    """Add a folder of images to the stream of a bundle's monitor, which continues from call to call.

    Args:
        bundle: folder of the bundle.
        folder: new images, read in the order of their names, including subfolders.
        fresh: whether to restart the stream.
        progress: called after each image.

    Raises:
        UsageError: not a bundle, or a folder without readable images.
        WorkError: the state cannot be written.
    """
    opened = load_bundle(bundle)
    monitor = opened.monitor
    if fresh:
        monitor.charts.start_over()
    names, read = read_folder(folder, opened.facts["size"])
    readings: list[Reading] = []
    unreadable: dict[str, str] = {}
    waiting: list[tuple[str, np.ndarray]] = []

    def take() -> None:
        if waiting:
            readings.extend(monitor.observe(np.stack([image for _, image in waiting]), [name for name, _ in waiting]))
            waiting.clear()

    for done, (name, image) in enumerate(read(), 1):
        if isinstance(image, str):
            unreadable[name] = image
        else:
            waiting.append((name, image))
        if len(waiting) == _CHUNK:
            take()
        progress("watching", done, len(names))
    take()
    if not readings:
        reason = next(iter(unreadable.values()))
        raise UsageError(f"{folder} has no readable images ({len(unreadable)} files; the first: {reason})")
    alarms: dict[str, str] = {}
    for reading in readings:
        for chart in reading.alarms:
            alarms.setdefault(chart, reading.image)
    report: MonitorReport = {
        "bundle": str(bundle),
        "folder": str(folder),
        "time": round(time.time(), 3),
        "images": len(readings),
        "seen": monitor.charts.seen,
        "false_alarms": monitor.false_alarms,
        "alarm": bool(alarms),
        "alarms": alarms,
        "heights": readings[-1].heights,
        "unreadable": unreadable,
        "readings": [_row(reading) for reading in readings],
    }
    opened.keep_monitor()
    append(bundle, report)
    return report


def _row(reading: Reading) -> ReadingRow:
    heights = {f"{name}_height": value for name, value in reading.heights.items()}
    return cast("ReadingRow", {"image": reading.image, **reading.scores, **heights})


def prometheus_text(report: MonitorReport) -> str:
    """A report in the text exposition format of Prometheus."""
    lines = [
        "# HELP recallrate_monitor_images_total Images in the stream.",
        "# TYPE recallrate_monitor_images_total counter",
        f"recallrate_monitor_images_total {report['seen']}",
        "# HELP recallrate_monitor_height Height of each chart as a share of its threshold.",
        "# TYPE recallrate_monitor_height gauge",
        *(f'recallrate_monitor_height{{chart="{name}"}} {height:.6g}' for name, height in report["heights"].items()),
        "# HELP recallrate_monitor_alarm Whether a chart was above its threshold in the last folder.",
        "# TYPE recallrate_monitor_alarm gauge",
        *(f'recallrate_monitor_alarm{{chart="{name}"}} {int(name in report["alarms"])}' for name in report["heights"]),
        "# HELP recallrate_monitor_unreadable Files of the last folder that could not be read.",
        "# TYPE recallrate_monitor_unreadable gauge",
        f"recallrate_monitor_unreadable {len(report['unreadable'])}",
    ]
    return "\n".join(lines) + "\n"
