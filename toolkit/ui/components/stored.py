"""The field of the stored size: how much of an image the memory keeps."""

from __future__ import annotations

from streamlit.delta_generator import DeltaGenerator

from toolkit.foundation.image_size import SIDES
from toolkit.ui.components.language import say


def stored_field(place: DeltaGenerator, key: str) -> int | None:
    """Shorter side of what is stored, in pixels; None stores what the network is given."""
    return place.number_input(
        say("stored.side"),
        *SIDES,
        None,
        32,
        key=key,
        placeholder=say("stored.crop"),
        persist_state="session",
        help=say("stored.help"),
    )
