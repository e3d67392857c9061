"""Slices of a scan side by side."""

import cv2
import numpy as np
import pytest

from mil.problems import InputError
from mil.slice_picture import FRAME, GAP, HEAD, LINE, draw_slices

SIDE = 40


def test_each_slice_has_a_frame_of_its_colour_in_reading_order(tmp_path):
    slices = [np.full((30, 20), k, np.float32) for k in range(5)]
    scores = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    draw_slices(tmp_path / "scan.jpg", slices, scores, signed=True, columns=3, side=SIDE)
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "scan.jpg")), cv2.COLOR_BGR2RGB).astype(int)

    def at(number, x, y):
        cell = SIDE + 2 * FRAME
        left = GAP + number % 3 * (cell + GAP)
        return picture[HEAD + number // 3 * (cell + LINE + GAP) + y, left + x]

    frames = [at(k, 2, 20) for k in range(5)]
    redness = [int(frame[0] - frame[2]) for frame in frames]
    assert redness == sorted(redness)
    assert redness[0] < -60 < 60 < redness[-1]
    grey = [at(k, FRAME + 13, FRAME + 20)[0] for k in range(5)]
    np.testing.assert_allclose(grey, [0, 64, 128, 191, 255], atol=8)


def test_pictures_of_bytes_and_colours_are_shown_as_they_are(tmp_path):
    red = np.full((SIDE, SIDE, 3), (200, 30, 30), np.uint8)
    labels = np.array([1])
    draw_slices(tmp_path / "one.jpg", [red], np.array([1.0]), labels=labels, side=SIDE)
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "one.jpg")), cv2.COLOR_BGR2RGB).astype(int)
    np.testing.assert_allclose(picture[HEAD + 25, GAP + 25], (200, 30, 30), atol=12)


def test_other_numbers_are_refused():
    with pytest.raises(InputError, match=r"2 slices, but scores of shape \(3,\)"):
        draw_slices("no.jpg", [np.zeros((2, 2))] * 2, np.zeros(3))
    with pytest.raises(InputError, match="no slice to draw"):
        draw_slices("no.jpg", [], np.zeros(0))
