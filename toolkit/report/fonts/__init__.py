"""The fonts that the report carries: Latin, Greek, Cyrillic and Japanese. Their licence lies beside them."""

from pathlib import Path

FOLDER = Path(__file__).parent
FAMILY = "Noto Sans CJK JP"
REGULAR = FOLDER / "NotoSansCJKjp-Regular-subset.otf"
