"""Heatmaps: who is drawn, which colour lies where, and what is said."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from results_tree import heatmap_inputs, write_results

from mil.heatmap_picture import OPACITY, Panel, overlay, round_length
from mil.heatmaps import (
    TestPatient,
    draw_heatmaps,
    read_test_patients,
    spread,
)
from mil.score_maps import ORDERED, ScoreMap
from mil.slide_scores import SlideScores, write_slide_scores
from wsi.grid import children
from wsi.storage import Outcome, load_npz, save_npz


@pytest.fixture
def inputs(tmp_path):
    return heatmap_inputs(write_results(tmp_path))


def people(*percentiles):
    return [
        TestPatient(f"P{i}", (), p, len(percentiles), "test patients of fold 0", "event at 1")
        for i, p in enumerate(percentiles)
    ]


def test_slides_are_spread_from_the_highest_to_the_lowest_risk():
    chosen = spread(people(10, 30, 50, 70, 90), 3)
    assert [patient.percentile for patient in chosen] == [90, 50, 10]


def test_fewer_patients_than_asked_for_are_all_drawn_once():
    assert [p.percentile for p in spread(people(25, 75), 10)] == [75, 25]
    assert spread(people(25, 75), 0) == []
    assert spread([], 4) == []


def test_equal_risks_are_chosen_in_one_order():
    patients = people(50, 50, 50)
    assert spread(patients, 2) == spread(patients[::-1], 2)


def test_risk_percentile_is_within_the_test_part_of_the_fold(inputs):
    found = {
        p.patient_id: p for p in read_test_patients(inputs["predictions"], inputs["attention"])
    }
    # fold 0 tests P1 (4 months), P5 (20), P3 (30.5); the training part does not count
    assert found["P1"].percentile == pytest.approx(100 * 2.5 / 3)
    assert found["P3"].percentile == pytest.approx(100 * 0.5 / 3)
    assert (found["P4"].group, found["P4"].n) == ("test patients of fold 1", 2)


def panel(**changes):
    given = {
        "thumbnail": Path("none"),
        "tissue": Path("none"),
        "coords": np.array([[0, 0], [500, 1000]]),
        "footprint": 500.0,
        "extent": (1000.0, 2000.0),
        "mpp": 0.5,
        "maps": (),
        "caption": "",
    }
    return Panel(**(given | changes))


def places(*values):
    return ScoreMap("attention", np.array(values), ORDERED, ("", "", ""), "")


def test_a_patch_is_coloured_at_its_true_place():
    picture = np.full((200, 100, 3), 200, np.uint8)
    covered = overlay(picture, panel(), places(0.0, 1.0))

    def mixed(share):
        colour = np.array(ORDERED(share)[:3]) * 255
        return np.rint(200 * (1 - OPACITY) + colour * OPACITY).astype(np.uint8)

    assert (covered[:50, :50] == mixed(0.0)).all()
    assert (covered[100:150, 50:] == mixed(1.0)).all()
    bare = np.ones((200, 100), bool)
    bare[:50, :50] = bare[100:150, 50:] = False
    assert (covered[bare] == 200).all()


def test_a_patch_smaller_than_a_pixel_and_one_over_the_edge_are_drawn():
    picture = np.full((20, 10, 3), 200, np.uint8)
    tiny = overlay(
        picture, panel(footprint=1.0, coords=np.array([[0, 0], [990, 1990]])), places(0, 1)
    )
    assert (tiny[0, 0] != 200).any()
    over = overlay(picture, panel(coords=np.array([[-100, -100], [900, 1900]])), places(0, 1))
    assert (over[-1, -1] != 200).any()


def test_patches_that_overlap_cover_their_union():
    """Sixteen at legacy offsets, 32 apart and 128 wide: a corner of 224 of the 512 of a region."""
    picture = np.full((256, 256, 3), 200, np.uint8)
    block = panel(
        coords=children(np.array([[0, 0]]), 32),
        footprint=128.0,
        extent=(512.0, 512.0),
    )
    covered = (overlay(picture, block, places(*np.linspace(0, 1, 16))) != 200).any(axis=2)
    assert covered[:112, :112].all()
    assert covered.sum() == 112**2


def test_where_patches_overlap_the_mean_is_shown():
    picture = np.full((100, 100, 3), 200, np.uint8)
    three = panel(coords=np.array([[0, 0], [250, 0], [250, 0]]), extent=(1000.0, 1000.0))
    covered = overlay(picture, three, places(0.3, 0.6, 0.9))
    alone = overlay(picture, panel(coords=np.array([[0, 0]]), extent=(1000, 1000)), places(0.6))
    np.testing.assert_array_equal(covered[:50, 25:50], alone[:50, 25:50])  # (0.3 + 0.6 + 0.9) / 3
    assert (covered[10, 60] != covered[10, 40]).any()


def test_a_patch_without_a_value_is_left_as_it_is():
    picture = np.full((200, 100, 3), 200, np.uint8)
    covered = overlay(picture, panel(), places(np.nan, 1.0))
    assert (covered[:50, :50] == 200).all()
    assert (covered[100:150, 50:] != 200).any()


@pytest.mark.parametrize(("most", "length"), [(1234, 1000), (999, 500), (250, 200), (0.3, 0.2)])
def test_scale_bars_have_round_lengths(most, length):
    assert round_length(most) == pytest.approx(length)


def test_the_picture_has_a_row_for_each_slide_and_the_same_bytes_twice(inputs):
    draw_heatmaps(**inputs, slides=2, unit="months")
    first = inputs["heatmaps"].read_bytes()
    two = cv2.imread(str(inputs["heatmaps"]))
    draw_heatmaps(**inputs, slides=2, unit="months")
    assert inputs["heatmaps"].read_bytes() == first
    draw_heatmaps(**inputs, slides=3, unit="months")
    three = cv2.imread(str(inputs["heatmaps"]))
    assert three.shape[1] == two.shape[1]
    assert three.shape[0] - two.shape[0] == pytest.approx(two.shape[0] / 2, rel=0.15)


def test_bright_patches_are_where_attention_is_high(inputs):
    """The patches of the right coarse patch have all the higher attention in these files."""
    draw_heatmaps(**inputs, slides=1)
    picture = cv2.cvtColor(cv2.imread(str(inputs["heatmaps"])), cv2.COLOR_BGR2RGB).astype(int)
    top, left, side = 114, 572, 540  # where the covered slide stands
    covered = picture[top : top + side, left : left + side]
    last, first = covered[230, 500], covered[20, 30]  # rows 31 and 0 of the feature file
    assert last[0] > first[0] + 60  # viridis: yellow has red, violet little
    assert np.ptp(covered[400, 270]) < 10  # no patch here: grey


def test_contributions_have_a_column_of_their_own(inputs):
    """Red where they raise the risk, blue where they lower it, beside the attention."""
    path = inputs["attention"][0]
    arrays, _ = load_npz(path)
    signed = {
        slide: SlideScores(one, np.linspace(-1, 1, 32)[:, None], towards=("risk",))
        for slide, one in arrays.items()
    }
    draw_heatmaps(**inputs, slides=1)
    before = cv2.imread(str(inputs["heatmaps"]))
    write_slide_scores(path, signed)
    draw_heatmaps(**inputs, slides=1)
    picture = cv2.cvtColor(cv2.imread(str(inputs["heatmaps"])), cv2.COLOR_BGR2RGB).astype(int)
    assert picture.shape[1] == before.shape[1] + 540 + 16
    covered = picture[114 : 114 + 540, 1128 : 1128 + 540]
    last, first = covered[230, 500], covered[20, 30]
    assert last[0] > last[2] + 60
    assert first[2] > first[0] + 60
    assert np.ptp(covered[400, 270]) < 10


def test_evidence_has_no_shares(inputs, monkeypatch):
    cohort = pd.read_csv(inputs["cohort"])
    cohort.loc[cohort["slide_id"] == "S5", "patient_id"] = "P1"
    cohort.to_csv(inputs["cohort"], index=False)
    arrays, _ = load_npz(inputs["attention"][0])
    arrays["S1"] = np.full(32, 2.0)  # more in all, but no patch as strong as the strongest of S5
    arrays["S5"] = np.where(np.arange(32) == 3, 5.0, -9.0)
    evidence = {slide: SlideScores(one, kind="evidence") for slide, one in arrays.items()}
    write_slide_scores(inputs["attention"][0], evidence)
    drawn = []
    monkeypatch.setattr(
        "mil.heatmaps.draw_panels", lambda title, panels, path: drawn.extend(panels)
    )
    draw_heatmaps(**inputs, slides=1)
    assert "Slide S5, the highest score on the patient's 2 slides" in drawn[0].caption
    assert [one.title for one in drawn[0].maps] == ["score"]


def test_of_several_slides_the_one_with_most_attention_is_drawn(inputs, monkeypatch):
    cohort = pd.read_csv(inputs["cohort"])
    cohort.loc[cohort["slide_id"] == "S5", "patient_id"] = "P1"  # P1 now has S1 and S5
    cohort.to_csv(inputs["cohort"], index=False)
    arrays, _ = load_npz(inputs["attention"][0])
    arrays["S1"], arrays["S5"] = arrays["S1"] * 0.25, arrays["S5"] * 0.75
    save_npz(inputs["attention"][0], **arrays)
    drawn = []
    monkeypatch.setattr(
        "mil.heatmaps.draw_panels", lambda title, panels, path: drawn.extend(panels)
    )
    draw_heatmaps(**inputs, slides=1, unit="months")
    assert drawn[0].thumbnail.name == "S5.jpg"
    assert "Slide S5, 75% of the attention on the patient's 2 slides" in drawn[0].caption
    assert "Patient P1: risk at percentile 83 of the 3 test patients of fold 0" in drawn[0].caption
    assert "event at 4 months" in drawn[0].caption


def test_a_scale_that_was_only_assumed_is_not_drawn(inputs, monkeypatch):
    import h5py

    with h5py.File(inputs["root"] / "features/resnet50/S1.h5", "a") as file:
        file.attrs["mpp_source"] = "assumed for tissue only"
    drawn = []
    monkeypatch.setattr(
        "mil.heatmaps.draw_panels", lambda title, panels, path: drawn.extend(panels)
    )
    draw_heatmaps(**inputs, slides=1)
    assert drawn[0].thumbnail.name == "S1.jpg"
    assert drawn[0].mpp is None


def annotate(root, slide, labels, ring):
    """Write what ``read_annotations`` does."""
    folder = root / "annotations/resnet50"
    outcome = Outcome(slide, "read_annotations")
    save_npz(folder / f"{slide}.npz", outcome, label=np.asarray(labels, np.int8))
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {"classification": {"name": "Annotated"}},
    }
    content = {"type": "FeatureCollection", "features": [feature], "outcome": vars(outcome)}
    (folder / f"{slide}.geojson").write_text(json.dumps(content))
    return folder / f"{slide}.geojson"


def test_annotations_are_contours_and_labels_of_patches(inputs):
    """Slide S1: the left coarse patch is annotated, its sixteen rows come first."""
    ring = [[0, 0], [2048, 0], [2048, 2048], [0, 2048]]
    given = annotate(inputs["root"], "S1", [1] * 16 + [0] * 16, ring)
    draw_heatmaps(**inputs, slides=1)
    before = cv2.imread(str(inputs["heatmaps"])).astype(int)
    draw_heatmaps(**inputs, slides=1, annotations=[given])
    picture = cv2.cvtColor(cv2.imread(str(inputs["heatmaps"])), cv2.COLOR_BGR2RGB).astype(int)
    assert picture.shape[1] == before.shape[1] + 540 + 16
    top, labels = 114, 1128  # below heads and captions; behind the plain slide and attention
    positive, negative = picture[top + 100, labels + 100], picture[top + 100, labels + 400]
    assert positive[0] > positive[2] + 60, "vermilion"
    assert negative[2] > negative[0] + 60, "blue"
    for column in (16, 572, labels):  # on the plain slide, too
        line = picture[top + 100, column + 264 : column + 276]
        red, green, blue = line[line[:, 1].argmin()]
        assert red > green + 60, "magenta between the two"
        assert blue > green + 20, "but for what JPEG leaves of it"
    assert np.ptp(picture[top + 100, labels + 300]) > 30


def test_slides_without_annotations_have_unknown_labels_and_failed_ones_none(inputs, monkeypatch):
    ring = [[0, 0], [9, 0], [9, 9]]
    given = annotate(inputs["root"], "S1", [1] * 32, ring)
    drawn = []
    monkeypatch.setattr(
        "mil.heatmaps.draw_panels", lambda title, panels, path: drawn.extend(panels)
    )
    draw_heatmaps(**inputs, slides=2, annotations=[given])
    assert [one.thumbnail.stem for one in drawn] == ["S1", "S3a"]
    assert [len(one.annotations) for one in drawn] == [1, 0]
    assert [one.maps[-1].title for one in drawn] == ["labels", "labels"]
    assert np.isnan(drawn[1].maps[-1].place).all()
    drawn.clear()
    content = json.loads(given.read_text())
    content["outcome"]["status"] = "failed"
    given.write_text(json.dumps(content))
    draw_heatmaps(**inputs, slides=2, annotations=[given])
    assert [len(one.maps) for one in drawn] == [1, 1], "no column of unknown labels alone"


def test_nothing_to_draw_is_a_picture_that_says_so(inputs, monkeypatch):
    told = []
    monkeypatch.setattr("mil.heatmaps.draw_message", lambda text, path: told.append(text))
    draw_heatmaps(**inputs, slides=0)
    assert told == ["plain: no heatmap, since none was asked for."]
    monkeypatch.undo()
    draw_heatmaps(**inputs, slides=0)
    assert cv2.imread(str(inputs["heatmaps"])) is not None


def test_attention_of_other_patches_is_refused_in_a_sentence(inputs):
    arrays, _ = load_npz(inputs["attention"][0])
    save_npz(inputs["attention"][0], **{name: value[:-1] for name, value in arrays.items()})
    with pytest.raises(
        ValueError, match=r"slide S1: attention of 31 patches, but .* has 32; predict"
    ):
        draw_heatmaps(**inputs, slides=1)
