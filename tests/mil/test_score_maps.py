"""Colours of scores."""

import numpy as np
import pytest

from mil.score_maps import (
    attention_map,
    contribution_map,
    label_map,
    percentile_within,
    relative_spread,
    score_maps,
    uncertainty_map,
)
from mil.slide_scores import SlideScores


def test_attention_percentile_depends_on_order_alone_and_ties_share_one():
    values = np.array([0.1, 0.4, 0.2, 0.2])
    np.testing.assert_allclose(percentile_within(values), [12.5, 87.5, 50, 50])
    np.testing.assert_allclose(percentile_within(np.exp(9 * values)), percentile_within(values))
    np.testing.assert_allclose(percentile_within(np.full(5, 0.2)), 50)


def test_percentile_among_others():
    """Halfway through those that are equal; beyond all of them it is 0 or 100."""
    reference = np.array([3.0, 1.0, 2.0, 2.0])
    found = percentile_within(np.array([0.0, 1.0, 2.0, 2.5, 9.0]), reference)
    np.testing.assert_allclose(found, [0, 12.5, 50, 75, 100])
    values = np.random.default_rng(0).normal(size=50).round(1)
    np.testing.assert_array_equal(percentile_within(values, values), percentile_within(values))
    drawn = attention_map(np.array([0.0, 9.0]), reference=reference)
    assert drawn.place.tolist() == [0, 1]
    assert drawn.legend == "attention percentile among the reference"


def test_red_raises_blue_lowers_and_nothing_is_white():
    drawn = contribution_map(np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 2.0]))
    np.testing.assert_allclose(drawn.place, [0, 0.25, 0.5, 0.75, 1, 1])
    red, green, blue, _ = drawn.colours(drawn.place).T
    assert red[-1] > 0.6 > 0.3 > blue[-1]
    assert blue[0] > 0.6 > 0.3 > red[0]
    assert min(red[2], green[2], blue[2]) > 0.9
    assert drawn.ticks == ("lowers the risk", "0", "raises the risk")


def test_all_of_one_sign_stay_on_their_side():
    """A map scaled between the extremes would paint the weakest of them as the opposite."""
    assert (contribution_map(np.array([1.0, 5.0, 9.0])).place > 0.5).all()


def test_one_patch_does_not_pale_all_others():
    values = np.linspace(-1, 1, 200)
    without = contribution_map(values).place
    values[0] = -1e6
    with_one = contribution_map(values).place
    np.testing.assert_allclose(with_one, without, atol=0.01)
    assert with_one[0] == 0


@pytest.mark.parametrize("values", [np.zeros(7), np.zeros(0), np.array([0.0] * 300 + [1.0])])
def test_contributions_of_nothing_are_in_the_middle(values):
    place = contribution_map(values).place
    assert (place[values == 0] == 0.5).all()
    assert (place[values > 0] == 1).all()


def test_words_of_classes_and_numbers():
    assert contribution_map(np.ones(1), "lusc").ticks == ("against lusc", "0", "for lusc")
    assert contribution_map(np.ones(1), "output").ticks[0] == "lowers the output"


def test_labels_that_are_not_known_have_no_colour():
    place = label_map(np.array([1, 0, -1])).place
    np.testing.assert_array_equal(place, [1, 0, np.nan])


def test_uncertainty_is_by_order_and_not_in_the_colours_of_attention():
    spread = np.array([0.3, 0.001, 0.02])
    drawn = uncertainty_map(spread)
    np.testing.assert_allclose(drawn.place, percentile_within(spread) / 100)
    assert drawn.colours is not attention_map(spread).colours


def test_maps_of_a_slide():
    attention = np.array([0.2, 0.8])
    given = np.array([[1.0, -1.0], [2.0, 0.5]])
    both = SlideScores(attention, given, towards=("luad", "lusc"))
    titles = [one.title for one in score_maps(both, labels=np.array([0, 1]))]
    assert titles == ["attention", "contribution to luad", "contribution to lusc", "labels"]
    random = SlideScores(attention, given[:, :1], towards=("risk",), spread=np.array([0.1, 0.2]))
    titles = [one.title for one in score_maps(random, labels=np.array([0, 1]))]
    assert titles == ["attention", "contribution to risk", "uncertainty of attention", "labels"]
    np.testing.assert_allclose(relative_spread(random), [0.5, 0.25])
    many = SlideScores(attention, np.arange(8).reshape(2, 4), towards=tuple("abcd"))
    assert [one.title for one in score_maps(many)] == ["attention", "contribution to d"]
    assert [one.title for one in score_maps(SlideScores(attention))] == ["attention"]
    told = SlideScores(
        attention, probability=np.array([[0.9, 0.1], [0.3, 0.7]]), classes=("benign", "malign")
    )
    drawn = score_maps(told, labels=np.array([0, 1]))
    assert [one.title for one in drawn] == ["attention", "probability of malign", "labels"]
    np.testing.assert_array_equal(drawn[1].place, [0.1, 0.7])  # the same colours on every slide
    few = SlideScores(attention, probability=np.full((2, 3), 1 / 3), classes=tuple("abc"))
    assert [one.title[-1] for one in score_maps(few)[1:]] == ["a", "b", "c"]
    assert attention_map(attention, "evidence").legend == "score percentile within slide"
