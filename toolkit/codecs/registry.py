"""The table of all codecs. A new codec is one file and one row here."""

from __future__ import annotations

from toolkit.codecs import file_formats
from toolkit.codecs.adaptive import ADAPTIVE
from toolkit.codecs.cp import CP
from toolkit.codecs.downscale import DOWNSCALE
from toolkit.codecs.features import FEATURES
from toolkit.codecs.foreground import FOREGROUND
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.learned_jpeg import LEARNED_JPEG
from toolkit.codecs.neural.codec import NEURAL
from toolkit.codecs.original import ORIGINAL
from toolkit.codecs.store import STORE

CODECS: dict[str, CodecKind] = {
    kind.name: kind
    for kind in (
        *file_formats.KINDS,
        ORIGINAL,
        FEATURES,
        LEARNED_JPEG,
        NEURAL,
        CP,
        ADAPTIVE,
        FOREGROUND,
        DOWNSCALE,
        STORE,
    )
}
"""By name, standard formats first."""
