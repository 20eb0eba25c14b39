"""All kinds of requests that a worker carries out. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.jpeg_dl import request as jpeg_request
from toolkit.probe import request as probe_request
from toolkit.runs.request import Request

REQUESTS: Mapping[str, type[Request]] = {**probe_request.REQUESTS, **jpeg_request.REQUESTS}
"""By the kind of their run."""
LIGHT_KINDS = frozenset(kind for kind, request in REQUESTS.items() if request.light)
"""What runs beside a training."""
