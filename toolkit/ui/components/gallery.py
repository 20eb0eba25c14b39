"""A grid of clickable image tiles, and a slider that wipes between two versions of an image.

Both can be used with the keyboard alone: tiles are buttons, and the slider is a range input.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from toolkit.data.images import png_bytes

THUMBNAIL = 96
"""Maximum side of a tile's picture in pixels; larger pictures are scaled down, smaller ones keep their pixels."""

_GRID_CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 10px; }
button { display: block; padding: 6px; border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius);
  background: var(--st-secondary-background-color); color: var(--st-text-color); cursor: pointer; text-align: left;
  font: 12px/1.35 var(--st-font); }
button:hover { border-color: var(--st-primary-color); }
button:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 1px; }
button[aria-pressed="true"] { border-color: var(--st-primary-color);
  box-shadow: inset 0 0 0 2px var(--st-primary-color); }
.pair { display: flex; gap: 2px; margin-bottom: 4px; }
img { width: 50%; flex: 1; aspect-ratio: 1; image-rendering: pixelated; border-radius: 2px; min-width: 0; }
span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.more { opacity: 0.75; }
"""
_GRID_JS = """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let grid = parentElement.querySelector(".grid");
  if (!grid) { grid = document.createElement("div"); grid.className = "grid"; parentElement.appendChild(grid); }
  grid.replaceChildren(...data.tiles.map((tile) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(tile.id === data.chosen));
    button.setAttribute("aria-label", tile.label);
    button.title = tile.label;
    const pair = document.createElement("div");
    pair.className = "pair";
    for (const source of tile.pictures) {
      const picture = document.createElement("img");
      picture.src = source; picture.alt = "";
      pair.appendChild(picture);
    }
    button.appendChild(pair);
    tile.lines.forEach((line, n) => {
      const text = document.createElement("span");
      text.textContent = line;
      if (n) text.className = "more";
      button.appendChild(text);
    });
    button.onclick = () => setTriggerValue("picked", tile.id);
    return button;
  }));
}
"""
_WIPE_CSS = """
.wipe { position: relative; width: 100%; aspect-ratio: 1; border-radius: var(--st-base-radius); overflow: hidden; }
.wipe img { position: absolute; inset: 0; width: 100%; height: 100%; image-rendering: pixelated; }
.edge { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--st-primary-color); pointer-events: none; }
.name { position: absolute; bottom: 6px; padding: 1px 7px; border-radius: 9px; font: 12px var(--st-font);
  background: var(--st-background-color); color: var(--st-text-color); opacity: 0.85; pointer-events: none; }
.left { left: 6px; } .right { right: 6px; }
input { width: 100%; margin: 8px 0 0; accent-color: var(--st-primary-color); }
input:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
"""
_WIPE_HTML = """
<div class="wipe"><img class="under"><img class="over"><div class="edge"></div>
<span class="name left"></span><span class="name right"></span></div>
<input type="range" min="0" max="100" value="50">
"""
_WIPE_JS = """
export default function (component) {
  const { data, parentElement } = component;
  const find = (name) => parentElement.querySelector(name);
  const [under, over, edge, slider, box] = [".under", ".over", ".edge", "input", ".wipe"].map(find);
  under.src = data.right; over.src = data.left;
  under.alt = data.right_name; over.alt = data.left_name;
  find(".left").textContent = data.left_name; find(".right").textContent = data.right_name;
  slider.setAttribute("aria-label", data.label);
  const move = () => {
    over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    edge.style.left = `calc(${slider.value}% - 1px)`;
  };
  slider.oninput = move;
  box.onpointermove = (event) => {
    if (event.pointerType === "mouse" && event.buttons === 0) return;
    const place = box.getBoundingClientRect();
    slider.value = 100 * (event.clientX - place.left) / place.width;
    move();
  };
  move();
}
"""


@dataclass(frozen=True)
class Tile:
    """A tile of the grid.

    Attributes:
        id: returned on a click.
        pictures: uint8 (H, W, 3) side by side.
        lines: text below them.
        label: a full description for screen readers.
    """

    id: int
    pictures: Sequence[np.ndarray]
    lines: Sequence[str]
    label: str


def picture_address(image: np.ndarray, largest: int | None = None) -> str:
    """An image as a lossless ``data:`` URL.

    Args:
        image: uint8 (H, W, 3).
        largest: maximum side in pixels; a larger image is scaled down.
    """
    picture = Image.fromarray(image)
    if largest is not None:
        picture.thumbnail((largest, largest))
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def gallery(tiles: Sequence[Tile], chosen: int | None, key: str) -> int | None:
    """Draw the grid; return the id of the tile that has just been clicked, else None."""
    mount = st.components.v2.component("recallrate_gallery", css=_GRID_CSS, js=_GRID_JS)
    data = {
        "chosen": chosen,
        "tiles": [
            {
                "id": tile.id,
                "pictures": [picture_address(picture, THUMBNAIL) for picture in tile.pictures],
                "lines": list(tile.lines),
                "label": tile.label,
            }
            for tile in tiles
        ],
    }
    return mount(key=key, data=data, on_picked_change=lambda: None).picked


def wipe(left: np.ndarray, right: np.ndarray, names: tuple[str, str], label: str, key: str) -> None:
    """Two pictures of equal size on top of each other, and a slider for the visible part of the left one."""
    mount = st.components.v2.component("recallrate_wipe", html=_WIPE_HTML, css=_WIPE_CSS, js=_WIPE_JS)
    data = {
        "left": picture_address(left),
        "right": picture_address(right),
        "left_name": names[0],
        "right_name": names[1],
        "label": label,
    }
    mount(key=key, data=data)
