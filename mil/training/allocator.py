"""What a step frees stays with the process, since the next step takes as much."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 1 << 30
"""Bytes free at the end of the heap up to which the C library gives none back."""
LARGEST = 1 << 25
"""Bytes of the largest tensors on the heap; the library comes to this by itself, step by step."""


def keep_freed_memory() -> None:
    """Keep the C library of this process from giving memory back after every step.

    Fresh pages cost some hundredths of a step on a CPU. The most memory that the process holds
    grows by less than a tenth. Only glibc has the setting; elsewhere nothing happens.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST)
        set_option(M_TRIM_THRESHOLD, KEPT)
