"""Folds: by patient, balanced, the same for the same seed; fixed ones as they are."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mil.drawn_folds import deal_folds, strata_of
from mil.fixed_folds import patients_tested, read_fixed_fold
from mil.fold_parts import FoldError
from mil.folds import check_folds, make_folds
from mil.tables import Patient

ROOT = Path(__file__).resolve().parents[2]
ADVMIL = ROOT / "../shared/data/tables/advmil"


def cohort(n=60, share=0.4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Patient(f"P{i:03d}", float(rng.integers(1, 100)), int(i < round(share * n)))
        for i in range(n)
    ]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_tables(folder, patients, slides=None):
    names = [p.patient_id for p in patients] if slides is None else slides
    (folder / "slides.csv").write_text(
        "slide_id,patient_id,path\n" + "".join(f"S{i},{p},s{i}.svs\n" for i, p in enumerate(names))
    )
    (folder / "patients.csv").write_text(
        "patient_id,site,time,event\n"
        + "".join(f"{p.patient_id},A,{p.time},{p.event}\n" for p in patients)
    )


def settings(folder, k=5, repeats=1, **changed):
    return {
        "slides": folder / "slides.csv",
        "patients": folder / "patients.csv",
        "folds": [folder / f"folds/fold{i}.csv" for i in range(k * repeats)],
        "cohort_patients": folder / "cohort/patients.csv",
        "excluded": folder / "cohort/excluded.csv",
        "k": k,
        "validation": 0.2,
        "stratify": "event",
        "repeats": repeats,
        "files": None,
        "seed": 42,
        "strict": False,
    } | changed


def problems(call, *args, **kwargs):
    with pytest.raises(FoldError) as caught:
        call(*args, **kwargs)
    return caught.value.problems


@pytest.mark.parametrize(
    ("n", "share", "k"), [(60, 0.4, 5), (37, 0.3, 5), (11, 0.5, 3), (97, 0.9, 10)]
)
def test_drawn_folds_part_the_cohort_and_balance_events(n, share, k):
    patients = cohort(n, share)
    event = {p.patient_id: p.event for p in patients}
    folds = deal_folds(strata_of(patients, "event"), k, 0.2, 2, seed=1)
    assert len(folds) == 2 * k
    for repeat in (folds[:k], folds[k:]):
        tests = [[name for name, part in fold.items() if part == "test"] for fold in repeat]
        assert sorted(name for test in tests for name in test) == sorted(event)
        sizes, events = [len(test) for test in tests], [sum(event[p] for p in t) for t in tests]
        assert max(sizes) - min(sizes) <= 1
        assert max(events) - min(events) <= 1
        for fold in repeat:
            assert set(fold) == set(event)
            count = Counter(fold.values())
            assert count["validation"] == round(0.2 * (n - count["test"]))
            inner = sum(event[name] for name, part in fold.items() if part == "validation")
            outer = sum(event[name] for name, part in fold.items() if part != "test")
            assert abs(inner - outer * count["validation"] / (n - count["test"])) <= 1
    assert folds[:k] != folds[k:]


def test_terciles_of_time_are_balanced_too():
    patients = [Patient(f"P{i:03d}", float(i + 1), int(i % 2)) for i in range(120)]
    for fold in deal_folds(strata_of(patients, "event"), 5, 0.2, 1, seed=3):
        late = [p for p in patients if p.time > 80 and fold[p.patient_id] == "test"]
        assert len(late) == 8


def test_folds_depend_on_seed_and_ids_only():
    patients = cohort()
    once = deal_folds(strata_of(patients, "event"), 5, 0.2, 1, seed=1)
    assert deal_folds(strata_of(patients[::-1], "event"), 5, 0.2, 1, seed=1) == once
    assert deal_folds(strata_of(patients, "event"), 5, 0.2, 1, seed=2) != once
    assert deal_folds(strata_of(patients, "none"), 5, 0.2, 1, seed=1) != once


def test_known_draw():
    # Written down once: a change here changes the folds of every user.
    fold = deal_folds(strata_of(cohort(10, 0.5), "event"), 3, 0.25, 1, seed=42)[0]
    assert [name for name in fold if fold[name] == "test"] == [
        "P004",
        "P002",
        "P007",
        "P009",
    ]
    assert [name for name in fold if fold[name] == "validation"] == ["P001", "P006"]


def test_files(tmp_path):
    patients = [*cohort(30), Patient("Z1", 0.0, 1), Patient("Z2", 5.0, 1)]
    write_tables(tmp_path, patients, [p.patient_id for p in patients[:-1]] + ["P003", "Z9", "Z9"])
    make_folds(**settings(tmp_path))
    made = rows(tmp_path / "cohort/patients.csv")
    assert list(made[0]) == ["patient_id", "time", "event", "n_slides", "site"]
    assert [row["patient_id"] for row in made] == [f"P{i:03d}" for i in range(30)]
    assert [row["n_slides"] for row in made[2:5]] == ["1", "2", "1"]
    assert float(made[0]["time"]) == patients[0].time
    assert rows(tmp_path / "cohort/excluded.csv") == [
        {"patient_id": "Z1", "reason": "follow-up time is 0, not above 0"},
        {"patient_id": "Z2", "reason": "no slide in the slide table"},
        {"patient_id": "Z9", "reason": "not in the patient table (slides: 2)"},
    ]
    folds = [rows(tmp_path / f"folds/fold{i}.csv") for i in range(5)]
    assert all([r["patient_id"] for r in fold] == [r["patient_id"] for r in made] for fold in folds)
    tested = Counter(r["patient_id"] for fold in folds for r in fold if r["part"] == "test")
    assert set(tested.values()) == {1}
    assert len(tested) == 30


def test_bytes_do_not_depend_on_the_order_of_rows(tmp_path):
    for name, patients in (("a", cohort(30)), ("b", cohort(30)[::-1])):
        (tmp_path / name).mkdir()
        write_tables(tmp_path / name, patients)
        make_folds(**settings(tmp_path / name))
    for file in ["cohort/patients.csv", *(f"folds/fold{i}.csv" for i in range(5))]:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_slide_left_out_takes_its_patient_along(tmp_path):
    write_tables(tmp_path, cohort(30))
    make_folds(**settings(tmp_path, exclude=["S4"]))
    assert rows(tmp_path / "cohort/excluded.csv") == [
        {"patient_id": "P004", "reason": "no slide in the slide table"}
    ]


def test_strict_refuses_to_lose_patients(tmp_path):
    write_tables(tmp_path, [*cohort(30), Patient("Z1", 0.0, 1)])
    assert problems(make_folds, **settings(tmp_path, strict=True)) == [
        "patient Z1: follow-up time is 0, not above 0. With strict: true this stops the run."
    ]
    assert not (tmp_path / "cohort").exists()


def test_too_few_events(tmp_path):
    write_tables(tmp_path, cohort(30, share=0.1))
    assert problems(make_folds, **settings(tmp_path)) == [
        "3 of 30 usable patients have an event; 5 folds need 5: lower folds.k or add patients."
    ]


def test_parts_that_cannot_be_used():
    patients = cohort(4, 0.5)  # P000 and P001 have events
    parts = {"P000": "train", "P001": "train", "P002": "test", "P003": "validation"}
    assert problems(check_folds, [parts], patients) == [
        "fold 0: none of the 1 patients of its test part has an event; use fewer folds or stratify "
        "by event."
    ]
    parts = {"P000": "train", "P001": "test"}
    assert problems(check_folds, [parts, parts], patients) == [
        "fold 0: its validation part has no patient.",
        "fold 1: its validation part has no patient.",
        "in the test part of more than one fold: P001.",
    ]


def fixed(folder, number, train, validation, test=None):
    given = {"train_patients": train, "val_patients": validation}
    if test is not None:
        given["test_patients"] = test
    np.savez(folder / f"fixed{number}.npz", **{k: np.array(v) for k, v in given.items()})


def digits(n=12):
    return [Patient(str(100_000 + i), float(i + 1), int(i % 2)) for i in range(n)]


def test_fixed_folds_with_numbers_as_ids(tmp_path):
    patients = digits()
    ids = [int(p.patient_id) for p in patients]
    write_tables(tmp_path, patients)
    fixed(tmp_path, 0, ids[:6], ids[6:8], ids[8:10])
    fixed(tmp_path, 1, ids[2:8], ids[8:10], ids[:2])
    make_folds(**settings(tmp_path, k=2, files=str(tmp_path / "fixed{}.npz")))
    parts = {r["patient_id"]: r["part"] for r in rows(tmp_path / "folds/fold0.csv")}
    wanted = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    assert parts == dict(zip(map(str, ids), wanted, strict=False))
    assert len(rows(tmp_path / "cohort/patients.csv")) == 10
    assert rows(tmp_path / "cohort/excluded.csv") == [
        {"patient_id": str(i), "reason": "named by none of the fixed folds"} for i in ids[10:]
    ]


def test_fixed_folds_without_a_test_part_report_what_did_not_stop_training(tmp_path):
    patients = digits()
    ids = [p.patient_id for p in patients]
    write_tables(tmp_path, patients)
    fixed(tmp_path, 0, ids[:8], ids[8:])
    fixed(tmp_path, 1, ids[4:], ids[:4])
    make_folds(**settings(tmp_path, k=2, validation=0.25, files=str(tmp_path / "fixed{}.npz")))
    parts = {r["patient_id"]: r["part"] for r in rows(tmp_path / "folds/fold0.csv")}
    assert {name for name, part in parts.items() if part == "test"} == set(ids[8:])
    assert Counter(parts.values()) == {"train": 6, "validation": 2, "test": 4}


def test_our_own_folds_can_be_fixed(tmp_path):
    write_tables(tmp_path, cohort(30))
    make_folds(**settings(tmp_path))
    before = [path.read_bytes() for path in sorted((tmp_path / "folds").iterdir())]
    (tmp_path / "folds").rename(tmp_path / "mine")
    make_folds(**settings(tmp_path, files=str(tmp_path / "mine/fold{}.csv")))
    assert [path.read_bytes() for path in sorted((tmp_path / "folds").iterdir())] == before


def test_tested_patients_are_those_of_any_file(tmp_path):
    (tmp_path / "0.csv").write_text("patient_id,part\nA,train\nB,validation\nC,test\n")
    (tmp_path / "1.csv").write_text("patient_id,part\nC,train\nD,validation\n")  # no test part
    assert patients_tested([str(tmp_path / f"{k}.csv") for k in (0, 1)]) == {"C", "D"}


def test_mistakes_of_fixed_folds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patients = digits()
    ids = [p.patient_id for p in patients]
    write_tables(tmp_path, patients)
    fixed(tmp_path, 0, [*ids[:6], "ZB", "ZA"], ids[6:8], ids[8:10])
    fixed(tmp_path, 1, ids[:6], ids[5:8], ids[8:10])
    np.savez(tmp_path / "fixed2.npz", train=np.array(ids))
    np.savez(tmp_path / "fixed3.npz", train_patients=np.array(ids, dtype=object))
    assert problems(make_folds, **settings(tmp_path, k=5, files="fixed{}.npz")) == [
        "fixed0.npz: 2 patients are not in the patient table: ZA, ZB.",
        "fixed1.npz: more than once in the fold: 100005.",
        "fixed2.npz: no train_patients, val_patients in it; it has train.",
        "fixed3.npz: it cannot be read as plain arrays; write ids as numbers or text.",
        "fixed4.npz: there is no such fold file; mend folds.files or folds.k.",
    ]
    (tmp_path / "fold0.csv").write_text("patient_id,part\n100001,training\n")
    assert problems(read_fixed_fold, "fold0.csv") == [
        "fold0.csv: part is training for patient 100001; it must be one of train, validation, test."
    ]


SIZES = {
    "tcga_brca": ((625, 626), 157, (195, 196), 978),
    "tcga_lgg": ((310, 311), 78, (97, 98), 486),
}
EVENTS = {"tcga_brca": (23, 32), "tcga_lgg": (20, 24)}


@pytest.mark.realdata
@pytest.mark.parametrize("name", SIZES)
def test_splits_of_advmil(tmp_path, name):
    table = ADVMIL / f"table/{name}_path_full.csv"
    if not table.is_file():
        pytest.skip(f"needs {table.name} of ../shared/data")
    lines = table.read_text().splitlines()
    whole = [lines[0] + ",path", *(f"{line},{i}.svs" for i, line in enumerate(lines[1:]))]
    (tmp_path / "slides.csv").write_text("\n".join(whole))
    files = str(ADVMIL / f"data_split/{name}-fold{{}}.npz")
    make_folds(**settings(tmp_path, patients=table, files=files, unit="days"))

    event = {r["patient_id"]: int(r["event"]) for r in rows(tmp_path / "cohort/patients.csv")}
    train, validation, test, patients = SIZES[name]
    assert len(event) == patients
    assert rows(tmp_path / "cohort/excluded.csv") == []
    tested = []
    for number in range(5):
        parts = {r["patient_id"]: r["part"] for r in rows(tmp_path / f"folds/fold{number}.csv")}
        count = Counter(parts.values())
        assert count["train"] in train
        assert count["validation"] == validation
        assert count["test"] in test
        members = [p for p, part in parts.items() if part == "test"]
        assert EVENTS[name][0] <= sum(event[p] for p in members) <= EVENTS[name][1]
        tested += members
    assert sorted(tested) == sorted(event)

    drawn = settings(tmp_path, patients=table, unit="days")
    make_folds(**drawn)
    events = [
        sum(event[r["patient_id"]] for r in rows(path) if r["part"] == "test")
        for path in drawn["folds"]
    ]
    assert max(events) - min(events) <= 1
