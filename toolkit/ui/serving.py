"""Arguments of Streamlit's ``App(SCRIPT, **serving())``, called by ``app.py`` and by ``recallrate app``.

Streamlit searches the source of the served file for that call, so both files contain it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from streamlit import config
from streamlit.starlette import App

from toolkit.ui.gateway.front import Gateway

SCRIPT = Path(__file__).resolve().with_name("script.py")


def serving() -> dict[str, Any]:
    """The gateway as middleware, and a lifespan that loads all pages before the first visitor."""
    return {"middleware": [Middleware(Gateway)], "lifespan": _loaded}


@asynccontextmanager
async def _loaded(_app: App) -> AsyncIterator[None]:
    """Import all pages, since concurrent first sessions would wait for each other's imports."""
    config.set_option("runner.postScriptGC", False)  # :func:`toolkit.ui.priority.in_turn` collects garbage instead
    import_module("toolkit.ui.shell")  # not earlier, since caches need a runtime
    yield
