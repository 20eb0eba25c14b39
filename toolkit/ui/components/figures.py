"""Figures of results, drawn once for all who look at them: making one takes longer than the rest of most pages."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from toolkit.ui.components.language import current

_MOST = 128
_kept: OrderedDict[tuple[str, str, bytes], go.Figure] = OrderedDict()
"""By function, language and digest of the facts; the one asked for last is at the end."""
_lock = threading.Lock()


def draw_figure(draw: Callable[..., go.Figure], *facts: Any, **more: Any) -> go.Figure:
    """What ``draw(*facts, **more, say=...)`` gives in the page's language. It is shared: nobody may change it.

    Args:
        draw: a pure function.
        facts, more: what it draws, as JSON has it.
    """
    written = json.dumps([facts, more], default=repr).encode()
    key = (draw.__name__, current().code, hashlib.sha256(written).digest())
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    made = draw(*facts, **more, say=current())
    with _lock:
        _kept[key] = made
        while len(_kept) > _MOST:
            _kept.popitem(last=False)
    return made
