"""Reading pixels: one contract for every format, and a damaged tile costs only itself."""

from wsi.reader.slide import Slide

__all__ = ["Slide"]
