"""Patch encoders by name: architecture, input, normalisation, width, and where weights come from.

See docs/encoders.md for a table of them.
"""

import difflib

from wsi.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderError
from wsi.encoders.imagenet import IMAGENET_ENCODERS
from wsi.encoders.pathology import PATHOLOGY_ENCODERS
from wsi.encoders.timm_model import PREFIX, timm_encoder

__all__ = [
    "ENCODERS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Encoder",
    "EncoderError",
    "find_encoder",
]

ENCODERS = {encoder.name: encoder for encoder in (*IMAGENET_ENCODERS, *PATHOLOGY_ENCODERS)}


def find_encoder(name: str) -> Encoder:
    """Return the registered encoder `name`, or any model of timm as ``timm:NAME``.

    Raises
    ------
    EncoderError
        No encoder of that name; the sentence names the nearest.
    """
    if name.startswith(PREFIX):
        return timm_encoder(name)
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=1)
        hint = (
            f"; did you mean {near[0]!r}?"
            if near
            else f"; known: {', '.join(sorted(ENCODERS))}, and timm:NAME for any model of timm."
        )
        raise EncoderError(f"no encoder is called {name!r}{hint}")
    return ENCODERS[name]
