import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from wsi.preflight.page import summarise_slides
from wsi.preflight.rows import EncoderRow, SlideRow, read_rows, write_rows

GOOD = SlideRow(
    *("S1", "P1", "S1.svs"),
    format="aperio",
    backend="tiff",
    size_bytes=500_000_000,
    width=80_000,
    height=60_000,
    levels="1 4 16 32",
    mpp=0.25,
    mpp_source="openslide.mpp",
    read_level=1,
    read_factor=1.0,
    tissue_mm2=120.5,
    patches=1600,
    estimate="counted",
    places_tried=6,
    places_unreadable=0,
    mpx_per_s=25.0,
    finding_s=2.0,
    reading_s=360.0,
    fingerprint="quickhash-1:1",
)
LOST = SlideRow("S9", "P9", "S9.svs", "unreadable", "S9.svs does not exist; correct path.")
ENCODER = EncoderRow("resnet50", "resnet50", 1024, "cpu", "1 of 4 CPU threads", 10.0, 4)


def slides(count):
    return [
        replace(GOOD, slide_id=f"S{i}", patient_id=f"P{i}", path=f"S{i}.svs", fingerprint=str(i))
        for i in range(count)
    ]


@pytest.fixture
def page(tmp_path):
    def page(rows, encoders=(ENCODER,), **changed):
        write_rows(tmp_path / "slides.csv", SlideRow, rows)
        write_rows(tmp_path / "encoders.csv", EncoderRow, encoders)
        given = {
            "results": str(tmp_path / "not/there/yet"),
            "scale": {"by": "mpp", "coarse": 4.0, "fine": 1.0},
            "drop": [],
            "neighbours": 8,
            "max_failed_slides": 0.2,
            "strict": False,
        }
        summarise_slides(
            slides=str(tmp_path / "slides.csv"),
            speeds=str(tmp_path / "encoders.csv"),
            page=str(tmp_path / "summary.txt"),
            **{**given, **changed},
        )
        text = (tmp_path / "summary.txt").read_text()
        assert max(map(len, text.splitlines())) <= 120
        return " ".join(text.split()), text

    return page


def test_rows_are_read_back_as_they_were_written(tmp_path):
    rows = [GOOD, LOST, replace(GOOD, reason='a "quoted", sentence', patient_id="007")]
    write_rows(tmp_path / "rows.csv", SlideRow, rows)
    assert read_rows(tmp_path / "rows.csv", SlideRow) == rows


def test_problems_come_first_and_the_verdict_last(page):
    said, text = page([*slides(9), LOST])
    assert said.index("S9 (unreadable): S9.svs does not exist") < said.index("10 slides")
    assert "left out: P9." in said
    assert text.splitlines()[-1] == (
        "9 slides ready, 1 with problems (max_failed_slides allows 2): the run would go on."
    )


@pytest.mark.parametrize(
    ("failed", "changed", "end"),
    [
        (2, {}, "(max_failed_slides allows 2): the run would go on."),
        (3, {}, "(max_failed_slides allows 2): the run would stop."),
        (1, {"strict": True}, "(strict allows 0): the run would stop."),
        (0, {"strict": True}, "(strict allows 0): the run would go on."),
        (10, {"max_failed_slides": 1.0}, "(max_failed_slides allows 10): the run would stop."),
    ],
)
def test_the_verdict_is_that_of_the_run(page, failed, changed, end):
    """The cohort step stops where more fail than allowed, or all."""
    rows = [replace(row, status="no_tissue") if i < failed else row
            for i, row in enumerate(slides(10))]  # fmt: skip
    assert page(rows, **changed)[0].endswith(end)


def test_copies_of_two_patients_are_worse_than_copies_of_one(page):
    rows = slides(6)
    rows[1] = replace(rows[1], fingerprint="0", patient_id="P0")
    rows[3] = replace(rows[3], fingerprint="2", size_bytes=400_000_000)
    rows[5] = replace(rows[5], path=rows[4].path, fingerprint=rows[4].fingerprint)
    said, _ = page(rows)
    assert "S0 and S1 are copies of one file. They belong to one patient (P0)" in said
    assert "S2 and S3 are the same scan in different files (500.0 MB and 400.0 MB)" in said
    assert "S4 and S5 are one file, S4.svs. They belong to different patients (P4 and P5)" in said
    assert said.index("S2 and S3 are") < said.index("S0 and S1 are"), "leaks come first"


def test_a_mixed_cohort_is_said(page):
    rows = slides(10)
    rows[0] = replace(rows[0], mpp=0.5, format="hamamatsu")
    rows[1] = replace(rows[1], mpp=0.2425, mpp_source="objective power")
    said, _ = page(rows)
    assert "different powers: 40x 9 (90%), 20x 1 (10%). Patches are the same um/px" in said
    assert "different formats, so probably scanners: aperio 9 (90%), hamamatsu 1 (10%)" in said
    assert "The scale of S1 is only known from" in said
    assert "patch by mpp" in page(rows, scale={"by": "downsample", "coarse": 16, "fine": 4})[0]
    assert "drops patches flagged pen or blur" in page(rows, drop=["pen", "blur"])[0]
    assert "The cohort" not in page(slides(10))[0]


def test_room_and_time_follow_from_the_patches(page):
    said, _ = page(slides(10))
    # 16,000 patches: x 4,112 bytes, x 264 bytes
    assert "0.066 GB features of resnet50" in said
    assert "0.004 GB graphs" in said
    assert "Time for 16,000 patches" in said
    assert "60.0 min of one core to read all patches once" in said
    assert "26.7 min of one core to encode them with resnet50: 10 patches/s" in said
    assert "21.8 min in all with 4 cores" in said  # (20 s + 3,600 s + 1,600 s) / 4


def test_a_gpu_encodes_what_a_core_reads(page):
    gpu = replace(ENCODER, device="cuda", machine="a GPU", patches_per_s=2.0)
    said, _ = page(slides(10), [ENCODER, gpu])
    assert "2.2 h of one GPU to encode" in said
    assert "2.6 h in all" in said  # 5 s + (3,600 s + 1,600 s) / 4 + max(8,000 s, 3,600 s)


def test_too_little_room_is_said(page, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 10**7))
    assert "0.010 GB free now at" in page(slides(10))[0]
    assert "NOT ENOUGH" in page(slides(10))[0]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 10**12))
    assert "NOT ENOUGH" not in page(slides(10))[0]


def test_many_slides_share_lines_and_problems_keep_theirs(page):
    rows = [*slides(60), LOST]
    rows[0] = replace(rows[0], mpp=0.5, levels="1 4 8")
    said, text = page(rows)
    assert "S9 (unreadable)" in said
    assert " S30 " not in said
    table = text[text.index("61 slides\n") :].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in table[2:-1]] == ["59", "1"]
    assert table[2].split()[-2:] == ["94,400", "25.0"]


def test_long_names_keep_both_ends(page):
    name = "TCGA-18-5592-01Z-00-DX1.62C97F9B-1A2B-4C3D-8E4F-0123456789AB"
    _, text = page([replace(GOOD, slide_id=name), *slides(3)])
    line = next(line for line in text.splitlines() if line.strip().startswith("TCGA"))
    first = line.split()[0]
    head, tail = first.split("..")
    assert name.startswith(head)
    assert name.endswith(tail)
