"""Fields shared by several kinds of requests, with the descriptions that the command line shows as help."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from toolkit.foundation.image_size import WrittenSize

Dataset = Annotated[str, Field(description="demo, a folder, a .zip, a .npz or torchvision:NAME")]
Size = Annotated[WrittenSize, Field(description="side of the images in pixels, or HEIGHTxWIDTH")]
Codec = Annotated[str, Field(description="one codec, such as jpeg:quality=50")]
Codecs = Annotated[str, Field(description="a grid, such as jpeg:quality={10,50};png")]
Budget = Annotated[str, Field(description="bytes: 262144, 256KiB, 1.5MB or 20img (raw images per class)")]
Extractor = Annotated[str, Field(description="stage0, self, random, auto, timm:NAME or checkpoint:PATH")]
Layer = Annotated[str | None, Field(description="a named layer instead of the pooled penultimate features")]
InitialForStage0 = Annotated[
    int | None, Field(description="classes in the first stage (for stage0); a fifth of all by default")
]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="seed of everything random")]
Device = Annotated[str, Field(description="auto, cpu or cuda")]
Strict = Annotated[bool, Field(description="fail if any file is unreadable")]
