"""The layouts by name."""

from types import ModuleType

from wsi.layouts import clam, plain, stamp, trident

LAYOUTS: dict[str, ModuleType] = {"clam": clam, "trident": trident, "stamp": stamp}
WRITERS: dict[str, ModuleType] = {**LAYOUTS, "pt": plain}
