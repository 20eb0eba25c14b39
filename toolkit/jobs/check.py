"""Check requests before they are queued, as the command line does: ``python -m toolkit.jobs.check < REQUESTS``.

It runs in its own process, since checking a training needs torch, which no page loads. Images coded for the check are
cached for the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.jobs.kinds import KINDS
from toolkit.runs.request import Request, SeededRequest


def require_fit(requests: Sequence[Request], runs_dir: Path) -> None:
    """Refuse requests that cannot succeed; each configuration is checked with its first seed, as on the command line.

    Requests with a folder in ``runs_dir`` have been checked before.

    Raises:
        UsageError: a request is invalid; the error is that of the first.
        WorkError: the check itself failed.
    """
    first: dict[str, Request] = {}
    for request in requests:
        if (Path(runs_dir) / request.run_name()).exists():
            continue
        key = request.config.model_dump_json() if isinstance(request, SeededRequest) else request.run_name()
        first.setdefault(f"{request.kind} {key}", request)
    if not first:
        return
    asked = [{"kind": request.kind, "contents": request.contents()} for request in first.values()]
    command = [sys.executable, "-m", "toolkit.jobs.check"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"the check ended with exit status {done.returncode}"])[-1]
        raise (UsageError if done.returncode == 2 else WorkError)(reason)


def main() -> int:
    """Run the command and return its exit status: 0 all valid, 2 one is invalid, 1 failure."""
    try:
        for one in json.load(sys.stdin):
            KINDS[one["kind"]].from_contents(one["contents"]).check()
    except (UsageError, WorkError) as error:
        print(one_line(error), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
