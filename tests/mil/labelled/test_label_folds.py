"""Tables of labels, and folds balanced over them."""

import csv
from collections import Counter

import pytest

from mil.folds import make_folds
from mil.label_table import read_labels
from mil.problems import InputError
from mil.tasks import task_of


def label(name="classification", columns=("grade",), classes=("low", "high"), unit="patient"):
    return {"name": name, "columns": list(columns), "classes": list(classes), "unit": unit}


def write(folder, name, header, rows):
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def made(folder, task, **changes):
    settings = {
        "slides": folder / "slides.csv",
        "patients": folder / "patients.csv",
        "folds": [folder / f"fold{k}.csv" for k in range(changes.get("k", 3))],
        "cohort_patients": folder / "cohort.csv",
        "excluded": folder / "excluded.csv",
        "k": 3,
        "validation": 0.25,
        "stratify": "event",
        "repeats": 1,
        "files": None,
        "seed": 1,
        "strict": False,
        "task": task,
        **changes,
    }
    make_folds(**settings)
    return [{row["patient_id"]: row["part"] for row in rows(path)} for path in settings["folds"]]


def problems(function, *arguments, **settings):
    with pytest.raises(InputError) as caught:
        function(*arguments, **settings)
    return caught.value.problems


@pytest.fixture
def folder(tmp_path):
    """Twelve patients, six of them high; one without a label, one without a slide."""
    people = [f"P{n:02d},{'high' if n % 5 in (0, 1) else 'low'},north" for n in range(12)]
    write(tmp_path, "patients.csv", "patient_id,grade,site", [*people, "P90,,north", "P91,low,x"])
    slides = [f"S{n:02d},P{n:02d},s{n}.tiff" for n in range(12)] + ["S90,P90,s90.tiff"]
    write(tmp_path, "slides.csv", "slide_id,patient_id,path", slides)
    return tmp_path


def test_folds_are_balanced_by_class(folder):
    grade = {f"P{n:02d}": "high" if n % 5 in (0, 1) else "low" for n in range(12)}
    folds = made(folder, label())
    for part, sizes in (("test", {1, 2}), ("validation", {1})):
        for fold in folds:
            counts = Counter(grade[name] for name, its in fold.items() if its == part)
            assert counts["high"] in sizes, part
    tested = [name for fold in folds for name, part in fold.items() if part == "test"]
    assert sorted(tested) == sorted(grade)
    assert made(folder, label()) == folds
    unbalanced = made(folder, label(), stratify="none")
    assert unbalanced != folds


def test_files_name_labels_and_who_is_left_out(folder):
    made(folder, label())
    assert rows(folder / "cohort.csv")[0] == {
        "patient_id": "P00", "grade": "high", "n_slides": "1", "site": "north"
    }  # fmt: skip
    assert rows(folder / "excluded.csv") == [
        {"patient_id": "P90", "reason": "no label: grade is missing"},
        {"patient_id": "P91", "reason": "no slide in the slide table"},
    ]


def test_a_class_with_fewer_patients_than_folds_is_named(folder):
    found = problems(made, folder, label(), k=7)
    assert found[1] == (
        "6 of 12 usable patients have grade high; 7 folds need 7: lower folds.k, add patients, or "
        "join classes."
    )


def test_unknown_values_and_mixed_types_are_named_with_their_lines(tmp_path):
    write(tmp_path, "p.csv", "patient_id,grade", ["A,low", "B,hihg", "C,3", "D,High", "E,NA"])
    found = problems(read_labels, tmp_path / "p.csv", ["grade"], ["low", "high"])
    assert [sentence.split(": ", 1)[1] for sentence in found] == [
        "grade is hihg; it must be one of low, high (label.classes), or empty; did you mean high?",
        "grade is 3; it must be one of low, high (label.classes), or empty.",
        "grade is High; it must be one of low, high (label.classes), or empty; did you mean high?",
    ]
    assert "line 3" in found[0]
    write(tmp_path, "n.csv", "patient_id,size", ["A,3", "B,large", "C,2.5"])
    (told,) = problems(read_labels, tmp_path / "n.csv", ["size"], [])
    assert told.endswith("line 3: size is large; it must be a number, or empty.")
    (told,) = problems(read_labels, tmp_path / "p.csv", ["garde"], ["low", "high"])
    assert "no column garde; did you mean grade?" in told


def test_whole_numbers_may_be_written_as_spreadsheets_do(tmp_path):
    write(tmp_path, "p.csv", "patient_id,isup", ["A,1.0", "B,2", "C,"])
    read = read_labels(tmp_path / "p.csv", ["isup"], ["1", "2"])
    assert [case.labels["isup"] for case in read] == ["1", "2", ""]


def test_slides_have_labels_and_folds_are_of_patients(tmp_path):
    slides = [
        f"S{n:02d},P{n // 2:02d},s.tiff,{'high' if n % 4 == 1 else 'low' if n else ''}"
        for n in range(24)
    ]
    write(tmp_path, "slides.csv", "slide_id,patient_id,path,grade", slides)
    write(tmp_path, "patients.csv", "patient_id", [f"P{n:02d}" for n in range(12)])
    folds = made(tmp_path, label(unit="slide"))
    assert all(set(fold) == {f"P{n:02d}" for n in range(12)} for fold in folds)
    table = rows(tmp_path / "cohort.csv")
    assert table[0] == {"slide_id": "S01", "patient_id": "P00", "grade": "high"}
    assert len(table) == 23
    assert rows(tmp_path / "excluded.csv") == []  # P00 has another slide with a label


def test_numbers_are_balanced_by_thirds(tmp_path):
    write(tmp_path, "patients.csv", "patient_id,size", [f"P{n:02d},{n}" for n in range(12)])
    slides = [f"S{n},P{n:02d},s" for n in range(12)]
    write(tmp_path, "slides.csv", "slide_id,patient_id,path", slides)
    task = label("regression", ["size"], [])
    for fold in made(tmp_path, task):
        tested = [int(name[1:]) // 4 for name, part in fold.items() if part == "test"]
        assert len(tested) == 4
        assert set(tested) == {0, 1, 2}
    (told,) = problems(made, tmp_path, task, k=5)
    assert told == "12 patients have size; 5 folds need 15: lower folds.k or add patients."


def test_several_labels_need_both_values_of_each(tmp_path):
    people = [f"P{n:02d},{n % 2},{int(n > 9)}" for n in range(12)]
    write(tmp_path, "patients.csv", "patient_id,a,b", people)
    slides = [f"S{n},P{n:02d},s" for n in range(12)]
    write(tmp_path, "slides.csv", "slide_id,patient_id,path", slides)
    (told,) = problems(made, tmp_path, label(columns=["a", "b"], classes=["0", "1"]))
    assert told.startswith("2 of 12 usable patients have b 1; 3 folds need 3")


def test_a_part_without_a_class_is_refused(folder):
    write(folder, "f0.csv", "patient_id,part",
          [f"P{n:02d},{'test' if n in (2, 3) else 'validation' if n < 2 else 'train'}"
           for n in range(12)])  # fmt: skip
    (told,) = problems(made, folder, label(), k=1, files=str(folder / "f{}.csv"))
    assert told == (
        "fold 0: none of the 2 patients of its test part has grade high; use fewer folds or "
        "stratify by label."
    )


def test_tasks_are_found_by_name():
    assert task_of(None).name == "survival"
    for name in ("classification", "ordinal", "regression"):
        assert task_of(label(name)).name == name
