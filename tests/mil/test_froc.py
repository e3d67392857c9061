"""FROC by hand and threshold by threshold; lesions and detections on small grids."""

import numpy as np
import pytest
import torch

from mil.bags import Bag, BagError, pack
from mil.froc import RATES, detections, froc, froc_of_bags, lesions_of
from mil.problems import InputError


def slide(*rows, name="A"):
    """A bag of the grid drawn: # positive, . negative, ? unknown, a space for no patch."""
    marks = [(r, c, mark) for r, row in enumerate(rows) for c, mark in enumerate(row) if mark > " "]
    coords = torch.tensor([[c, r] for r, c, _ in marks]) * 512
    label = torch.tensor([{"#": 1, ".": 0, "?": -1}[mark] for *_, mark in marks])
    return Bag.single(torch.zeros(len(marks), 1), name, coords=coords, instance_label=label)


def test_the_curve_by_hand():
    """Two slides and three lesions, of which one is never found."""
    found = froc(
        scores=[0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.95],
        lesion=[0, -1, 0, 1, -1, -1, -1, -2],  # a second one in lesion 0, one that does not count
        slides=2,
        lesions=3,
        rates=(0.25, 0.5, 1.0, 2.0, 8.0),
    )
    assert found.false_alarms.tolist() == [0, 0, 0.5, 0.5, 1.5, 2]
    np.testing.assert_allclose(found.found, np.array([0, 1, 1, 2, 2, 2]) / 3)
    np.testing.assert_allclose(found.sensitivity, np.array([1, 2, 2, 2, 2]) / 3)
    assert found.score == pytest.approx(9 / 15)


def test_thresholds_one_by_one():
    random = np.random.default_rng(1)
    scores = random.random(200).round(2)
    lesion = random.integers(-2, 12, 200)
    found = froc(scores, lesion, slides=7, lesions=15)
    points = [(0.0, 0.0)]
    for t in sorted(set(scores), reverse=True):
        passed = lesion[scores >= t]
        points.append((np.sum(passed == -1) / 7, len(set(passed[passed >= 0])) / 15))
    x, y = np.array(points).T
    np.testing.assert_allclose(found.sensitivity, np.interp(RATES, x, y))
    assert set(zip(found.false_alarms, found.found, strict=True)) == set(points)


def test_lesions_are_what_touches():
    bags = [slide("##..#", "...#.", "#?..#"), slide("..", "#.", name="B")]
    lesion = lesions_of(pack(bags)).tolist()
    expected = [0, 0, -1, -1, 1, -1, -1, -1, 1, -1, 2, -2, -1, -1, 1, -1, -1, 3, -1]
    assert lesion == expected
    apart = slide("#", " ", "#", "?", "#")  # what is not there, or unknown, joins nothing
    assert lesions_of(apart).tolist() == [0, 1, -2, 2]


def test_the_highest_silences_its_neighbours():
    bag = slide(".......")
    scores = torch.tensor([0.1, 0.5, 0.6, 0.4, 0.7, 0.2, 0.3])
    assert detections(bag, scores, 1).tolist() == [4, 2, 6, 0]
    assert detections(bag, scores, 2).tolist() == [4, 1]
    assert detections(bag, torch.zeros(7), 3).tolist() == [0, 4]
    two = pack([bag, slide(".......", name="B")])  # slides silence none of each other
    assert detections(two, torch.cat([scores, scores - 1]), 2).tolist() == [4, 1, 11, 8]


def test_bags_from_labels_to_the_score():
    bags = pack([slide("....##", "....##"), slide("......", name="B"), slide("#..", name="C")])
    label = bags.instance_label
    assert froc_of_bags(bags, label.float()).score == 1
    worst = froc_of_bags(bags, -label.float(), radius=1)
    assert worst.sensitivity[0] == 0
    assert (worst.lesions, worst.slides) == (2, 3)


def test_mistakes_are_sentences():
    with pytest.raises(InputError, match="2 slides and 0 lesions, and detections lie in 0"):
        froc([0.1], [-1], 2, 0)
    with pytest.raises(InputError, match="2 slides and 1 lesions, and detections lie in 2"):
        froc([0.1, 0.3], [0, 1], 2, 1)
    with pytest.raises(InputError, match=r"scores are \[1\] and lesion \[2\]"):
        froc([0.1], [0, 1], 1, 2)
    with pytest.raises(InputError, match="froc: 1 scores are NaN"):
        froc([np.nan], [0], 1, 1)
    with pytest.raises(InputError, match="1 slides and 0 lesions"):
        froc_of_bags(slide(".."), torch.zeros(2))
    with pytest.raises(BagError, match="no labels of instances"):
        lesions_of(Bag.single(torch.zeros(1, 1), coords=torch.zeros(1, 2)))
