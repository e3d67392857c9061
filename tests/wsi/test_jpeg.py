"""Pictures are written whole or not at all."""

import errno
import resource

import cv2
import numpy as np
import pytest

from wsi.jpeg import write_jpeg


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)


def test_the_bytes_are_opencvs(picture, tmp_path):
    write_jpeg(picture, tmp_path / "ours.jpg", 85)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "theirs.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert (tmp_path / "ours.jpg").read_bytes() == (tmp_path / "theirs.jpg").read_bytes()


def test_no_room_for_the_file_is_an_error(picture, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk, but "too large"
    try:
        with pytest.raises(OSError) as raised:  # noqa: PT011
            write_jpeg(picture, tmp_path / "a.jpg", 85)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
