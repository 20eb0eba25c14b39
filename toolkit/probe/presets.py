"""Ready-made codec grids."""

from __future__ import annotations

PRESETS = {
    "quick": "raw;png;jpeg:quality={10,30,50,75,90};webp:quality={10,30,50,75}",
    "thorough": (
        "raw;png;webp:lossless=yes;jxl:lossless=yes;jpeg:quality={10,30,50,75,90};webp:quality={10,30,50,75};avif:quality={20,40,60};"
        "jxl:quality={30,60,80};jpeg2000:psnr={27,31,35};downscale:factor=2|jpeg:quality={50,80}"
    ),
    "edge device": "raw;jpeg:quality={10,20,30,50,75,90};downscale:factor=2|jpeg:quality={50,75,90}",
}
"""Quick: seconds. Thorough: every format. Edge device: only codecs with encoders for microcontrollers."""
