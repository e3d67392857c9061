"""The two tables: what is read, and the sentence for each thing wrong."""

import csv
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from mil.tables import Patient, Slide, TableError, missing_slides, read_patients, read_slides

ROOT = Path(__file__).resolve().parents[2]
ADVMIL = ROOT / "../shared/data/tables/advmil/table"
SLIDES = "slide_id,patient_id,path\n"
PATIENTS = "patient_id,time,event\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a function that writes a table and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="table.csv"):
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


def problems(read, *args):
    with pytest.raises(TableError) as caught:
        read(*args)
    return caught.value.problems


@pytest.mark.parametrize("text", ["slide_id,patient_id\nS1,P1\n", SLIDES + "S1,P1,\n"])
def test_imported_features_need_no_paths(table, text):
    assert read_slides(table(text), need_paths=False) == [Slide("S1", "P1", "")]
    with pytest.raises(TableError, match="path"):
        read_slides(table(text))


def test_slides_in_table_order_with_ids_as_text(table):
    name = table("path,slide_id,patient_id,mpp,x\nb.svs,007,100012,0.25,y\na.svs,006,100012,,y\n")
    assert read_slides(name) == [
        Slide("007", "100012", "b.svs", 0.25),
        Slide("006", "100012", "a.svs", None),
    ]
    assert [slide.slide_id for slide in read_slides(name, ["007"])] == ["006"]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfslide_id,patient_id,path\r\nS1,P1,a.svs\r\n",
        b"slide_id;patient_id;path\nS1;P1;a.svs\n",
        b"slide_id\tpatient_id\tpath\n\nS1\tP1\ta.svs\n\n",
        b"\nslide_id, patient_id ,path\n S1,P1 , a.svs\n,,\n",
        b'"slide_id","patient_id","path"\n"S1","P1","a.svs"',
    ],
    ids=["excel", "semicolon", "tab", "blanks", "quotes"],
)
def test_dialects(table, text):
    assert read_slides(table(text)) == [Slide("S1", "P1", "a.svs")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            SLIDES + "S1,P1,a\nS1,P2,b\n",
            "line 3: slide_id is S1, as in line 2; each slide is one row.",
        ),
        (
            SLIDES + "S 1,P1,a\n",
            "line 2: slide_id is S 1; an id has letters, digits, dots, dashes and underscores, and "
            "begins with a letter or a digit.",
        ),
        (
            SLIDES + "S1,../P1,a\n",
            "line 2: patient_id is ../P1; an id has letters, digits, dots, dashes and underscores, "
            "and begins with a letter or a digit.",
        ),
        (
            SLIDES + ",P1,a\n",
            "line 2: slide_id is empty; an id has letters, digits, dots, dashes and underscores, "
            "and begins with a letter or a digit.",
        ),
        (SLIDES + "S1,P1,\n", "line 2: path is empty for slide S1; give the slide's file."),
        (
            SLIDES.replace("\n", ",mpp\n") + "S1,P1,a,40x\n",
            "line 2: mpp is 40x; it must be a number, or empty.",
        ),
        (
            SLIDES.replace("\n", ",mpp\n") + 'S1,P1,a,"0,25"\n',
            "line 2: mpp is 0,25; it must be a number with a point, not a comma, or empty.",
        ),
        (
            SLIDES.replace("\n", ",mpp\n") + "S1,P1,a,40\n",
            "line 2: mpp is 40; it must be um per pixel, 0.05 to 10 (0.25 at 40x), or empty to "
            "take it from the file.",
        ),
        (
            SLIDES + "\n\nS1,P1,a,b\n",
            "line 4: 4 cells for 3 columns; a cell that holds the separator must be in quotes, a "
            "missing value is an empty cell.",
        ),
        ("slideid,patient_id,path\nS1,P1,a\n", "line 1: no column slide_id; did you mean slideid?"),
        (
            "slide_id,patient_id,x\nS1,P1,a\n",
            "line 1: no column path; the columns are slide_id, patient_id, x.",
        ),
        (
            "patient_id,pathology_id,t,e\nP1,S1,3,1\n",
            "line 1: no column path; AdvMIL's table names no files: add a column path with each "
            "slide's file.",
        ),
        (
            "slide_id,patient_id,path,path\nS1,P1,a,b\n",
            "line 1: column path is there twice; keep one.",
        ),
    ],
)  # fmt: skip
def test_each_mistake_in_slides_is_one_sentence(table, text, sentence):
    assert problems(read_slides, table(text)) == [f"table.csv, {sentence}"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            PATIENTS + "TCGA-XY,3,2\n",
            "line 2: event is 2 for patient TCGA-XY; it must be 1 (event seen) or 0 (censored).",
        ),
        (
            PATIENTS + "P1,3,True\n",
            "line 2: event is True for patient P1; it must be 1 (event seen) or 0 (censored).",
        ),
        (
            PATIENTS + "P1,12 months,1\n",
            "line 2: time is 12 months; it must be a number, or empty.",
        ),
        (PATIENTS + "P1,inf,1\n", "line 2: time is inf; it must be a number, or empty."),
        (
            PATIENTS + "P1,3,1\nP1,3,1\n",
            "line 3: patient_id is P1, as in line 2; each patient is one row.",
        ),
        (
            "patient_id,pathology_id,t,e\nP1,S1,3,1\nP2,S2,4,0\nP1,S3,3,0\n",
            "line 4: patient P1 has time 3 and event 0, but time 3 and event 1 in line 2; a "
            "patient has one follow-up.",
        ),
        (
            PATIENTS + "P1,3,1\nP2,2701,1\n",
            "line 3: time is 2701, which is over a century in months; set `unit` in the "
            "configuration to the unit of this table.",
        ),
        ("patient_id,time,events\nP1,3,1\n", "line 1: no column event; did you mean events?"),
    ],
)
def test_each_mistake_in_patients_is_one_sentence(table, text, sentence):
    assert problems(read_patients, table(text), "months") == [f"table.csv, {sentence}"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "table.csv: there is no such table; mend its path."),
        (b"", "table.csv: the table is empty; it needs a header and rows."),
        (SLIDES, "table.csv: the table has a header but no row."),
        (
            "slide_id,ü\n".encode("utf-16"),
            "table.csv: this is not a CSV file in UTF-8; save it as one.",
        ),
    ],
)  # fmt: skip
def test_unreadable_tables(table, text, sentence):
    name = "table.csv" if text is None else table(text)
    assert problems(read_slides, name) == [sentence]


def test_excluded_slides_must_exist(table):
    name = table(SLIDES + "S01,P1,a\nS02,P1,b\n")
    assert problems(read_slides, name, ["S2"]) == [
        "exclude names slide S2, not in table.csv; did you mean S02?"
    ]


def test_all_mistakes_are_told_and_twenty_shown(table):
    rows = "".join(f"P{i},x,2\n" for i in range(30))
    with pytest.raises(TableError) as caught:
        read_patients(table(PATIENTS + rows))
    assert len(caught.value.problems) == 60
    shown = str(caught.value).splitlines()
    assert len(shown) == 21
    assert shown[-1] == "... and 40 more."


def test_follow_up_that_cannot_be_used_is_kept_and_explained(table):
    text = PATIENTS + "P1,,1\nP2,0,1\nP3,-4,0\nP4,5,\nP5,5.5,1.0\nP6,NA,0\n"
    assert {p.patient_id: p.unusable for p in read_patients(table(text))} == {
        "P1": "no follow-up: the time is missing",
        "P2": "follow-up time is 0, not above 0",
        "P3": "follow-up time is -4, not above 0",
        "P4": "no follow-up: the event is missing",
        "P5": "",
        "P6": "no follow-up: the time is missing",
    }


def test_patients_keep_their_other_columns(table):
    text = "patient_id,site,time,event\nP1,A2,3,1\n"
    assert read_patients(table(text)) == [Patient("P1", 3.0, 1, {"site": "A2"})]


def test_slides_and_patients_in_one_table(table):
    name = table("slide_id,patient_id,path,time,event\nS1,P1,a,3,1\nS2,P1,b,3,1\nS3,P2,c,4,0\n")
    assert len(read_slides(name)) == 3
    assert read_patients(name) == [Patient("P1", 3.0, 1), Patient("P2", 4.0, 0)]


def test_a_missing_file_is_an_outcome_until_there_are_too_many(table):
    table("", "there.svs")
    slides = read_slides(table(SLIDES + "S1,P1,there.svs\nS2,P1,gone.svs\n"))
    assert missing_slides(slides, max_share=0.5) == {"S2"}
    with pytest.raises(TableError) as error:
        missing_slides(slides, max_share=0.4)
    assert str(error.value) == (
        "slide S2: there is no file gone.svs; mend its path in the slide table (relative to the "
        "working directory), or name the slide under exclude."
    )


def test_files_of_the_users_own_must_be_there(table):
    table("{}", "mine.geojson")
    columns = "slide_id,patient_id,path,tissue,patches\n"
    first, second = read_slides(table(columns + "S1,P1,a.svs,mine.geojson,\nS2,P1,b.svs,NA,\n"))
    assert (first.tissue, first.patches) == ("mine.geojson", None)
    assert (second.tissue, second.patches) == (None, None)
    with pytest.raises(TableError) as error:
        read_slides(table(columns + "S1,P1,a.svs,,coords.h5\n"))
    assert str(error.value) == (
        "table.csv, line 2: patches is coords.h5; there is no such file (relative to the working "
        "directory). Mend it, or leave the cell empty to have patches found."
    )
    columns = "slide_id,patient_id,path,annotations\n"
    with pytest.raises(
        TableError, match=r"line 2: annotations is a\.geojson; there is no such file"
    ):
        read_slides(table(columns + "S1,P1,a.svs,a.geojson\n"))


CELLS = {
    "slides": {
        "slide_id": ["S1", "1", "a.b-c_d", "", "-a", ".x", "a b", "a/b", "ä"],
        "patient_id": ["P1", "", "a/b"],
        "path": ["a", ""],
        "mpp": ["0.25", "", ".5", "x", "-1", "0,25"],
        "tissue": [""],  # whether a file is there no schema can say
        "patches": [""],
        "annotations": [""],
    },
    "patients": {
        "patient_id": ["P1", "", "a/b"],
        "time": ["3", "3.5", "1e3", "-1", "", "x", "1,5"],
        "event": ["0", "1", "0.0", "1.0", "", "2", "yes"],
    },
}


@pytest.mark.parametrize("kind", CELLS)
def test_schemas_say_what_the_reader_does(table, kind):
    schema = yaml.safe_load((ROOT / f"schemas/{kind}.schema.yaml").read_text())
    columns, read = CELLS[kind], {"slides": read_slides, "patients": read_patients}[kind]
    assert list(schema["properties"]) == list(columns)
    for column, values in columns.items():
        for value in values:
            row = {name: cells[0] for name, cells in columns.items()} | {column: value}
            text = ",".join(row) + "\n" + ",".join(f'"{cell}"' for cell in row.values()) + "\n"
            try:
                read(table(text))
                accepted = True
            except TableError:
                accepted = False
            assert accepted == Draft202012Validator(schema).is_valid(row), row


def test_ten_thousand_slides_are_read(table):
    with open("many.csv", "w", newline="") as file:
        rows = ([f"S{i}", f"P{i // 2}", f"slides/S{i}.svs", "0.25"] for i in range(10_000))
        csv.writer(file).writerows([["slide_id", "patient_id", "path", "mpp"], *rows])
    assert len(read_slides("many.csv")) == 10_000


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "slides", "patients", "events", "longest"),
    [("tcga_brca", 1041, 978, 132, 8605), ("tcga_lgg", 834, 486, 114, 6423)],
)
def test_tables_of_advmil(tmp_path, name, slides, patients, events, longest):
    path = ADVMIL / f"{name}_path_full.csv"
    if not path.is_file():
        pytest.skip(f"needs {path.name} of ../shared/data")
    read = read_patients(path, "days")
    assert (len(read), sum(p.event for p in read)) == (patients, events)
    assert max(p.time for p in read) == longest
    assert not any(p.unusable or p.extra for p in read)
    assert "over a century in months" in problems(read_patients, path, "months")[0]

    lines = path.read_text().splitlines()
    whole = [lines[0] + ",path", *(f"{line},{i}.svs" for i, line in enumerate(lines[1:]))]
    (tmp_path / "slides.csv").write_text("\n".join(whole))
    assert len(read_slides(tmp_path / "slides.csv")) == slides
