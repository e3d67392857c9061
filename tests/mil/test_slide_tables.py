"""Slide tables of several cohorts: one set of names."""

import pytest

from mil.slide_tables import patients_of, read_slide_tables
from mil.tables import TableError


def tables(folder, **rows):
    paths = {}
    for name, text in rows.items():
        paths[name] = str(folder / f"{name}.csv")
        (folder / f"{name}.csv").write_text("slide_id,patient_id,path\n" + text)
    return paths


def test_each_table_keeps_its_own_slides_and_those_it_leaves_out(tmp_path):
    paths = tables(tmp_path, own="S1,P1,a.svs\nS2,P1,b.svs\n", b="X1,Q1,c.svs\nS2,P1,b.svs\n")
    found = read_slide_tables(paths, ["X1"], need_paths=True)
    assert [s.slide_id for s in found["own"].slides] == ["S1", "S2"]
    assert [s.slide_id for s in found["b"].slides] == ["S2"], "the same row is the same slide"
    assert (found["own"].exclude, found["b"].exclude) == ((), ("X1",))
    assert patients_of(found["own"].slides) == {"P1": ["S1", "S2"]}


@pytest.mark.parametrize("row", ["S1,P1,other.svs", "S1,P2,a.svs"])
def test_one_id_for_two_slides_is_refused(tmp_path, row):
    paths = tables(tmp_path, own="S1,P1,a.svs\n", b=row + "\n")
    with pytest.raises(TableError) as caught:
        read_slide_tables(paths, [], need_paths=True)
    assert f"{paths['b']}: slide S1 is not the slide of that id in {paths['own']}" in str(
        caught.value
    )


def test_an_id_to_leave_out_is_in_one_of_them(tmp_path):
    paths = tables(tmp_path, own="S01,P1,a.svs\n", b="X1,Q1,c.svs\n")
    with pytest.raises(TableError) as caught:
        read_slide_tables(paths, ["S1"], need_paths=True)
    assert caught.value.problems == [
        f"exclude names slide S1, not in {paths['own']}, {paths['b']}; did you mean S01?"
    ]
