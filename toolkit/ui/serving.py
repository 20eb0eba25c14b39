"""How the app is served: ``App(SCRIPT, **serving())``, in ``app.py`` and in what ``recallrate app`` starts.

Streamlit finds that call by reading the file, so each of the two has it.
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
    """The gateway before Streamlit, and a lifespan that loads all pages before the first visitor."""
    return {"middleware": [Middleware(Gateway)], "lifespan": _loaded}


@asynccontextmanager
async def _loaded(_app: App) -> AsyncIterator[None]:
    """Sessions that begin together would wait for each other's imports; and garbage is collected now and then."""
    config.set_option("runner.postScriptGC", False)  # :func:`toolkit.ui.priority.in_turn` does it
    import_module("toolkit.ui.shell")  # now that there is a runtime, which caches ask for
    yield
