"""JPEG files of pictures for people."""

from pathlib import Path

import cv2
import numpy as np

from wsi.storage import atomic


def write_jpeg(rgb: np.ndarray, path: str | Path, quality: int) -> None:
    """Write a picture ``[H, W, 3]`` uint8.

    Raises
    ------
    OSError : also for a full disk, of which ``cv2.imwrite`` says nothing.
    """
    how = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), how)
    with atomic(path) as partial:
        partial.write_bytes(encoded)
