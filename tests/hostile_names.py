"""Names that terminals, spreadsheets, Markdown, Plotly or HTML would interpret as more than text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = (
    "[large]",
    "[bold red]x",
    ":cat:",
    "=1+1",
    "-2+3",
    "@SUM(A1)",
    "**bold**",
    "_it_ `c`",
    "# head",
    "1. list",
    ":red[r]",
    ":material_home:",
    ":streamlit:",
    "[a](x)",
    "![i](x)",
    "$x^2$",
    "<b>b<",
    "&lt;i&gt;",
    "%{name}",
    "a -> b",
    "www.a.example",
    "~~s~~",
    "\x1b[31mred",
    "x\u202ey",
)
"""Names that a folder may have."""
FOLDER = Path("a[", "x] :cat: **b**")
"""As a path it contains ``[/x]``, which ends rich's markup."""


def hostile_dataset(parent: Path) -> Path:
    """A folder of four small images for each name."""
    root = parent / FOLDER
    rng = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    (root / NAMES[0] / ":dog: [i]torn.png").write_text("no image")
    return root
