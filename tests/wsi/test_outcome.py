import errno
import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from wsi.outcome import SlideError, slide_stage, write_failed
from wsi.storage import Outcome, atomic, load_npz, read_features, read_h5, read_outcome

FAILED = Outcome("S1", "find_tissue", "failed", "slide S1: no tissue.", "no_tissue")


@slide_stage(writes=("first", "second"))
def two_files(*, slide_id, first, second, error=None):
    for path in (first, second):
        with atomic(path) as partial:
            partial.write_text(slide_id)
    if error:
        raise error


@slide_stage(writes=("output",), after="before")
def next_stage(*, slide_id, before, output):
    raise AssertionError("must not be called for a failed slide")


@pytest.fixture
def paths(tmp_path):
    return {"first": str(tmp_path / "a.h5"), "second": str(tmp_path / "b.geojson")}


def test_a_stage_that_succeeds_returns_ok_and_leaves_its_files(paths, tmp_path):
    assert two_files(slide_id="S1", **paths) == Outcome("S1", "two_files")
    assert (tmp_path / "a.h5").read_text() == "S1"


def test_a_fault_of_the_slide_writes_every_file_owed_with_the_reason(paths):
    error = SlideError("damaged", "9 of 10 patches cannot be read.")
    outcome = two_files(slide_id="S1", **paths, error=error)
    reason = "slide S1: 9 of 10 patches cannot be read."
    assert outcome == Outcome("S1", "two_files", "failed", reason, "damaged")
    assert read_outcome(paths["first"]) == read_outcome(paths["second"]) == outcome


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a bug"),
        PermissionError(errno.EACCES, "no rights"),
        OSError(errno.ENOSPC, "no space left on device"),
        MemoryError(),
        KeyboardInterrupt(),
    ],
)
def test_bugs_full_disks_and_lost_rights_are_no_outcomes(paths, error):
    with pytest.raises(type(error)):
        two_files(slide_id="S1", **paths, error=error)


def test_a_failed_slide_is_passed_on_with_the_stage_that_decided(tmp_path):
    before, output = tmp_path / "S1.geojson", tmp_path / "S1.npz"
    before.write_text(json.dumps({"outcome": asdict(FAILED)}))
    outcome = next_stage(slide_id="S1", before=str(before), output=str(output))
    assert outcome == FAILED == read_outcome(output)


def test_a_crash_becomes_the_outcome_and_the_function_is_not_called(paths):
    outcome = two_files(slide_id="S1", **paths, crashed="killed three times", error=TypeError())
    assert outcome == Outcome("S1", "two_files", "failed", "slide S1: killed three times", "crash")
    assert read_outcome(paths["first"]) == outcome


def test_an_earlier_outcome_wins_over_a_crash(tmp_path):
    before, output = tmp_path / "S1.geojson", tmp_path / "S1.npz"
    before.write_text(json.dumps({"outcome": asdict(FAILED)}))
    assert next_stage(slide_id="S1", before=str(before), output=str(output), crashed="x") == FAILED


def test_files_of_a_failed_slide_are_valid_and_without_rows(tmp_path):
    for name in ("a.h5", "a.npz", "a.geojson", "a.jpg"):
        write_failed(tmp_path / name, FAILED)
    datasets, attributes = read_h5(tmp_path / "a.h5")
    assert datasets["coords"].shape == (0, 2)
    assert attributes["reason"] == "slide S1: no tissue."
    assert len(read_features(tmp_path / "a.h5")[0]) == 0
    assert load_npz(tmp_path / "a.npz")[0] == {}
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []
    assert np.asarray(Image.open(tmp_path / "a.jpg")).std() < 3


def test_no_empty_form_of_an_unknown_file(tmp_path):
    with pytest.raises(ValueError, match="no empty form is known"):
        write_failed(tmp_path / "a.xyz", FAILED)
