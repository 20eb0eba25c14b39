"""Fork a pilot with changed fields as a new run, because no checkpoint is valid for another configuration."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_json
from toolkit.foundation.validation import validated
from toolkit.pilots.config import PilotConfig, parse_choices
from toolkit.pilots.request import PilotRequest
from toolkit.runs.folder import RunFolder


def changed_config(run: RunFolder, assignments: Sequence[str]) -> tuple[PilotConfig, list[str]]:
    """A pilot's configuration with changed fields, and the differences.

    Args:
        run: folder of a pilot.
        assignments: such as ``lr=0.05``; values are parsed as JSON if possible, else taken as text.

    Returns:
        The new configuration, and a text like ``lr: 0.1 -> 0.05`` for each field that differs.

    Raises:
        UsageError: not a pilot, an unknown field, or an invalid value.
    """
    request = run.config
    if request["kind"] != "pilot":
        raise UsageError(f"{run.name} is not a pilot: --set changes fields of pilots")
    old = PilotRequest.of(run).config
    new = validated(PilotConfig, old.model_dump() | parse_choices(assignments))
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in PilotConfig.model_fields]
    return new, [f"{name}: {before} -> {after}" for name, before, after in pairs if before != after]


def fork(run: RunFolder, config: PilotConfig) -> RunFolder:
    """A new run folder for ``config`` with the same seed, which records the run it was forked from."""
    forked = PilotRequest(config, PilotRequest.of(run).seed).folder(run.path.parent)
    write_json(forked.path / "origin.json", {"forked_from": run.name, **forked.origin})
    return forked
