"""Independent tasks on a Ray cluster. The only module that imports ray, and only when used.

Every node needs this toolkit at the same version, installed or on ``PYTHONPATH``, and the data and the output at the
same path of a shared folder. Functions are sent by name, never as code.

**Authentication.** Anyone who can reach a Ray cluster's ports can run code on it, so token authentication stays on:
``RAY_AUTH_MODE`` is ``token`` unless the user has set it. A cluster started here reads its token from
``RAY_AUTH_TOKEN``, from the file named by ``RAY_AUTH_TOKEN_PATH`` or from ``~/.ray/auth_token``; without one, Ray
writes a new token to that file, readable by others unless the umask forbids it. On a cluster of several machines::

    ray get-auth-token --generate                       # once, on the head node; copy ~/.ray/auth_token to every
    chmod 600 ~/.ray/auth_token                         # node and to the machine that submits jobs
    RAY_AUTH_MODE=token ray start --head                # off by default for `ray start` in Ray 2.60
    RAY_AUTH_MODE=token ray start --address HEAD:6379   # on every other node
    RAY_AUTH_MODE=token ray job submit --address http://HEAD:8265 -- \\
        recallrate memory build DATA -o OUT --backend ray --address auto ...

The token is sent unencrypted: keep the ports inside a trusted network. Ray's usage statistics are off.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.processes import Outcome, failure

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

CONNECT_SECONDS = 3.0
HEALTH_SECONDS = 6.0
"""Together with :data:`CONNECT_SECONDS`, the longest wait for an address that does not answer: below 10 s."""
_OBJECT_STORE_BYTES = 128 * 1024**2
"""For a cluster started here: results are small, and large data goes through files."""
_PENDING_PER_CPU = 2


@contextmanager
def connect(address: str | None, num_cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray inside the block; an open connection is reused and left open.

    Args:
        address: ``HOST:6379`` of a cluster's head or ``auto``, from a process on one of its nodes (a job submitted
            with ``ray job submit`` is one); None starts Ray on this machine and stops it afterwards, which takes
            10 to 20 s.
        num_cpus: CPUs of a Ray started here; None means all.

    Raises:
        UsageError: Ray is not installed, or the address has another form.
        WorkError: nothing answers at the address within 10 s, or it refuses the token.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            # "local" even if RAY_ADDRESS names a cluster, since none was requested
            ray.init(
                "local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet
            )
        else:
            _require_alive(address)
            ray.init(address, **quiet)
    except (UsageError, WorkError):
        raise
    except Exception as error:  # Ray raises many types, including bare Exception
        raise WorkError(f"cannot use Ray at {address or 'this machine'}: {_first_sentence(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def map_tasks_on_ray(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    max_retries: int = 3,
) -> Iterator[Outcome[_Result]]:
    """Yield the outcome of ``function(item)`` for every item, in order of completion. Call it inside :func:`connect`.

    Args:
        function: an importable top-level function of the toolkit; other nodes import it by name.
        items: its arguments, which must be picklable.
        num_cpus, num_gpus: resources of each task.
        max_retries: how often a task is restarted after its worker or node died; a task that raises is not restarted.
    """
    ray = load_ray()
    remote = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=max_retries)(_call)
    where = _importable_name(function)
    queue = enumerate(items)
    pending: dict[Any, int] = {}
    while True:
        # queried each time, since clusters grow; bounded, since each pending task takes memory on the head node
        room = max(8, int(_PENDING_PER_CPU * ray.cluster_resources().get("CPU", 1))) - len(pending)
        pending |= {remote.remote(where, item): index for index, item in islice(queue, max(0, room))}
        if not pending:
            return
        done, _ = ray.wait(list(pending), num_returns=1)
        for reference in done:
            index = pending.pop(reference)
            try:
                outcome = Outcome[_Result](index, ray.get(reference))
            except ray.exceptions.RayTaskError as error:
                outcome = Outcome[_Result](index, error=failure(error.cause or error))
            except ray.exceptions.RayError as error:  # its worker or node died too often
                outcome = Outcome[_Result](index, error=f"lost by Ray: {_first_sentence(error)}")
            yield outcome


def require_shared(path: object) -> None:
    """Refuse a URL as the path of a folder shared by all nodes.

    Raises:
        UsageError: a URL such as ``s3://bucket/runs``.
    """
    match = re.match(r"([A-Za-z][\w+.-]+):/", str(path))  # Path reduces two slashes to one
    if match:
        raise UsageError(
            f"{path} is refused: {match[1]}:// is not a folder; mount the storage at the same path on every node "
            "and give that path"
        )


def load_ray() -> Any:
    """The ray module, with its usage statistics off and its token authentication on.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules:  # read by Ray on import; if unset, only ray.init("local") turns it on
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise UsageError("Ray is not installed: pip install 'recallrate[ray]'") from None
    return ray


def _importable_name(function: Callable[..., Any]) -> tuple[str, str]:
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "<" in name or "." in name:
        raise UsageError(f"{module}.{name} cannot be found by name on another node: use a top-level function")
    return module, name


def _call(where: tuple[str, str], item: Any) -> Any:
    """On a node: import the function and call it."""
    import importlib

    module, name = where
    return getattr(importlib.import_module(module), name)(item)


def _require_alive(address: str) -> None:
    """Refuse an address at which no Ray answers; Ray itself would try for almost a minute."""
    if re.match(r"\w+://", address):
        raise UsageError(
            f"{address} cannot be used as a Ray address here: give HOST:6379 or auto on a node of the cluster; from "
            "elsewhere submit the command with `ray job submit --address http://HOST:8265 -- recallrate ...`"
        )
    if address == "auto":
        return  # Ray checks only this machine, without delay
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"a Ray address must be HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise WorkError(f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}") from error
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(check, capture_output=True, text=True, timeout=HEALTH_SECONDS)
    except subprocess.TimeoutExpired:
        raise WorkError(f"no Ray cluster answers at {address}: something listens there but is not Ray") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        raise WorkError(f"the Ray cluster at {address} refuses: {told[-1].strip() if told else 'no reason given'}")


def _first_sentence(error: BaseException) -> str:
    return one_line(error).split(". ")[0]
