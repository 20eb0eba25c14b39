"""A cache of figures shared by all visitors, since drawing one takes longer than the rest of most pages."""

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
"""By function, language and digest of the data; most recently used last."""
_lock = threading.Lock()


def draw_figure(draw: Callable[..., go.Figure], *facts: Any, **more: Any) -> go.Figure:
    """The figure ``draw(*facts, **more, say=...)`` in the page's language. It is shared, so do not modify it.

    Args:
        draw: a pure function.
        facts, more: its arguments, which must be JSON values.
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
