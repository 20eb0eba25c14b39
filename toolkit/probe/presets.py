"""Ready-made codec grids, and the reference that every table has."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.codecs.spec import codec_family, stores_exactly
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.training.network_spec import is_large

PRESETS = {
    "quick": "raw;png;jxl:lossless=yes;jpeg:quality={10,30,50,75,90};webp:quality={10,30,50,75}",
    "thorough": (
        "raw;png;webp:lossless=yes;jxl:lossless=yes;jpeg:quality={10,30,50,75,90};webp:quality={10,30,50,75};avif:quality={20,40,60};"
        "jxl:quality={30,60,80};jpeg2000:psnr={27,31,35};downscale:factor=2|jpeg:quality={50,80}"
    ),
    "edge device": "raw;jpeg:quality={10,20,30,50,75,90};downscale:factor=2|jpeg:quality={50,75,90}",
}
"""Quick: seconds. Thorough: every format. Edge device: only codecs with encoders for microcontrollers."""


MOST_IMAGES = 1000
_FEWEST_IMAGES = 200
_PIXELS = MOST_IMAGES * 96**2


def images_for(size: WrittenSize) -> int:
    """Number of images that a probe measures by default, so that the first table takes less than a minute.

    Args:
        size: of the images; 1,000 of them up to 96 pixels per side, 200 from 215 on.
    """
    return min(MOST_IMAGES, max(_FEWEST_IMAGES, round(_PIXELS / parse_image_size(size).pixels)))


def usual_budget(size: WrittenSize) -> str:
    """The budget of a first look: 20 raw images per class, or one from 96 pixels on.

    Twenty raw images of 224 pixels take 3 MB, in which a hundred or more photographs fit as files.
    """
    return "1img" if is_large(size) else "20img"


def with_original(codecs: Sequence[str], has_files: bool) -> list[str]:
    """Settings with ``original`` before the first lossy one, so that nothing is compared without the source files.

    Args:
        codecs: canonical specs.
        has_files: whether the images of the dataset have source files; without, ``codecs`` are returned.
    """
    if not has_files or any(codec_family(codec) == "original" for codec in codecs):
        return list(codecs)
    at = next((index for index, codec in enumerate(codecs) if not stores_exactly(codec)), len(codecs))
    return [*codecs[:at], "original", *codecs[at:]]
