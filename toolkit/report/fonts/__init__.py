"""Fonts embedded in reports, for Latin, Greek, Cyrillic and Japanese; licensed under OFL.txt."""

from pathlib import Path

FOLDER = Path(__file__).parent
FAMILY = "Noto Sans CJK JP"
REGULAR = FOLDER / "NotoSansCJKjp-Regular-subset.otf"
