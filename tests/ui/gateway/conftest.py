from __future__ import annotations

import asyncio

import pytest
from gateway_samples import SECRET, Ask, Inside, asking
from streamlit import config

from toolkit.ui import access
from toolkit.ui.gateway import front


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def made(inside: Inside) -> front.Gateway:
    return front.Gateway(inside)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a secret for other machines."""
    monkeypatch.setenv(access.SECRET, SECRET)
    options = {"server.address": "0.0.0.0", "server.maxUploadSize": 200}
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: options.get(key, usual(key)))
    monkeypatch.setattr("streamlit.get_option", config.get_option)
    monkeypatch.setattr(front, "has_oidc", lambda: False)


@pytest.fixture
def ask(made: front.Gateway) -> Ask:
    return lambda *given, **headers: asyncio.run(asking(made, *given, **headers))  # type: ignore[arg-type]
