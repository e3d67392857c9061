"""CLAM's process list: its exact text, what people do to it, and what they are told."""

from dataclasses import fields

import pytest

from wsi.clam.process_list import (
    COLUMNS,
    PARSERS,
    ProcessListError,
    ProcessRow,
    overrides,
    read_process_list,
    write_process_list,
)
from wsi.clam.segmentation import PRESETS, ClamParameters

HEADER = (
    "slide_id,process,status,seg_level,sthresh,mthresh,close,use_otsu,keep_ids,exclude_ids,"
    "a_t,a_h,max_n_holes,vis_level,line_thickness,use_padding,contour_fn"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "process_list_autogen.csv"


@pytest.fixture
def read(path):
    """Return a function that reads a table given as text."""

    def read(text, *defaults):
        path.write_text(text)
        return read_process_list(path, *defaults)

    return read


def test_text_is_clams(path):
    rows = [
        ProcessRow("S1.svs", PRESETS["tcga"]),
        ProcessRow(
            "TCGA-A.B.svs",
            ClamParameters(seg_level=2, use_otsu=True, a_t=0.25, keep_ids=(3,), exclude_ids=(0, 2)),
            process=False,
            status="processed",
            vis_level=2,
            line_thickness=100,
            use_padding=False,
            contour_fn="basic",
        ),
    ]
    write_process_list(path, rows)
    assert path.read_text() == (
        f"{HEADER}\n"
        "S1.svs,1,tbp,-1,8,7,4,False,none,none,16.0,4.0,8,-1,250,True,four_pt\n"
        'TCGA-A.B.svs,0,processed,2,8,7,4,True,3,"0,2",0.25,16.0,8,2,100,False,basic\n'
    )


def test_every_parameter_is_a_column():
    names = {f.name for f in (*fields(ClamParameters), *fields(ProcessRow))} - {"parameters"}
    assert names == set(COLUMNS) == set(PARSERS) | {"slide_id"}


def test_what_was_written_is_read(path):
    rows = [
        ProcessRow("S1.svs", PRESETS["bwh_biopsy"], contour_fn="four_pt_hard", use_padding=False),
        ProcessRow("S2.svs", process=False),
        ProcessRow("S3.svs", ClamParameters(a_h=0.015625, keep_ids=(2, 9, 1), exclude_ids=(1,))),
    ]
    write_process_list(path, rows)
    assert read_process_list(path) == {"S1.svs": rows[0], "S3.svs": rows[2]}
    assert read_process_list(path)["S3.svs"].parameters.keep_ids == (2, 9, 1)  # as typed


def test_missing_columns_and_empty_cells_take_defaults(read):
    rows = read("slide_id,a_t,use_padding\nS1.svs,,\nS2.svs,3,False\n")
    assert rows["S1.svs"] == ProcessRow("S1.svs")
    assert rows["S2.svs"] == ProcessRow("S2.svs", ClamParameters(a_t=3), use_padding=False)
    row = read("slide_id,sthresh\nS1.svs,nan\nS2.svs,9\n", PRESETS["bwh_resection"])
    assert row["S1.svs"].parameters == PRESETS["bwh_resection"]
    assert row["S2.svs"].parameters.sthresh == 9
    assert row["S2.svs"].parameters.mthresh == 11


def test_a_spreadsheet_was_here(read):
    """Byte order mark, semicolons, spaces, whole numbers with a point, capitals, empty lines."""
    rows = read(
        "\ufeffslide_id;process;sthresh;use_otsu;use_padding;keep_ids;remark\n"
        "S1.svs; 1.0 ;9.0;TRUE;FALSE;3.0;look again\n"
        ";;;;;;\n"
        "S2.svs;0.0;oops;;;;\n"
    )
    parameters = ClamParameters(sthresh=9, use_otsu=True, keep_ids=(3,))
    assert rows == {"S1.svs": ProcessRow("S1.svs", parameters, use_padding=False)}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("none", ()), ("None", ()), ("", ()), ("4", (4,)), ("2,9,1", (2, 9, 1)), ("2, 9", (2, 9))],
)
def test_piece_numbers(read, text, numbers):
    assert read(f'slide_id,keep_ids\nS1.svs,"{text}"\n')["S1.svs"].parameters.keep_ids == numbers


@pytest.mark.parametrize(
    ("column", "value", "may_be"),
    [
        ("process", "2", "1 (to be done) or 0"),
        ("seg_level", "-2", "a level of the slide, or -1 to choose it"),
        ("sthresh", "256", "a whole number from 0 to 255"),
        ("sthresh", "8.5", "a whole number from 0 to 255"),
        ("mthresh", "6", "an odd whole number"),
        ("close", "-1", "a whole number of at least 0"),
        ("close", "inf", "a whole number of at least 0"),
        ("use_otsu", "maybe", "True or False"),
        ("keep_ids", "0-3", "the numbers of pieces, from 0 (0,2), or none"),
        ("exclude_ids", "-1", "the numbers of pieces, from 0 (0,2), or none"),
        ("a_t", "much", "an area of at least 0 (in squares of 512 x 512 level-0 pixels)"),
        ("a_h", "-1", "an area of at least 0 (in squares of 512 x 512 level-0 pixels)"),
        ("a_h", "inf", "an area of at least 0 (in squares of 512 x 512 level-0 pixels)"),
        ("max_n_holes", "x", "a whole number of at least 0"),
        ("line_thickness", "0", "a whole number of at least 1"),
        ("use_padding", "yes", "True or False"),
        ("contour_fn", "four", "one of basic, center, four_pt, four_pt_hard"),
    ],
)
def test_wrong_values(read, path, column, value, may_be):
    with pytest.raises(ProcessListError) as caught:
        read(f"slide_id,{column}\nS1.svs,\nS2.svs,{value}\n")
    assert str(caught.value) == (
        f"{path}, line 3: {column} is {value} for slide S2.svs; it must be {may_be}, or empty for "
        "the default."
    )
    assert caught.value.is_sentence


def test_everything_wrong_is_told_at_once(read):
    with pytest.raises(ValueError, match="slide_id") as caught:
        read("slide_id,a_t,close\nS1.svs,x,y\n,1,1\nS1.svs,1,1\nS2.svs,1\n")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0][-6:] for line in lines] == [
        f"line {number}" for number in (2, 2, 3, 4, 5)
    ]
    assert "slide_id is empty" in lines[2]
    assert "slide_id is S1.svs, as in line 2; each slide is one row." in lines[3]
    assert "2 cells for 3 columns" in lines[4]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("slideid,process\nS1.svs,1\n", "no column slide_id; did you mean slideid?"),
        ("process\n1\n", "no column slide_id; add it"),
        ("", "no column slide_id; add it"),
        ("slide_id,a_t,a_t\nS1.svs,1,2\n", "column a_t is there twice; keep one."),
    ],
)
def test_wrong_header(read, text, sentence):
    with pytest.raises(ProcessListError, match="line 1: ") as caught:
        read(text)
    assert sentence in str(caught.value)


def test_no_file_and_no_text(path):
    with pytest.raises(ProcessListError, match="there is no such process list"):
        read_process_list(path)
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ProcessListError, match="not a CSV file in UTF-8"):
        read_process_list(path)


def test_empty_cells_take_what_all_slides_have(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('slide_id,process,a_t,keep_ids\na.svs,1,,"0,2"\nb.svs,1,5,\nc.svs,0,7,\n')
    found = overrides(path, {"preset": "tcga", "close_um": 30, "mthresh": 9, "exclude_ids": [4]})
    assert list(found) == ["a.svs", "b.svs"]
    tissue, patches = found["a.svs"]
    expected = vars(ClamParameters(a_t=16, a_h=4, mthresh=9)) | {
        "keep_ids": [0, 2],
        "exclude_ids": [4],
    }
    assert tissue == expected  # plain values: no tuples, nothing of our own segmentation
    assert patches == {"rule": "four_pt", "padding": True}
    assert (found["b.svs"][0]["a_t"], found["b.svs"][0]["keep_ids"]) == (5, [])
