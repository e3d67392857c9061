import os
import shutil

import pytest

from wsi import contents as module
from wsi.contents import Contents, rows_digest
from wsi.fingerprint import MIB


@pytest.fixture
def big(tmp_path):
    """Two files of four MiB and some bytes, which differ in one byte in the middle."""
    paths = []
    for number in range(2):
        content = bytearray(4 * MIB + 17)
        content[2 * MIB] = number
        paths.append(tmp_path / f"{number}.svs")
        paths[-1].write_bytes(content)
    return list(map(str, paths))


@pytest.fixture
def record(tmp_path):
    return tmp_path / "logs/contents.csv"


def refuse(path):
    raise AssertionError(f"{path} was read")


def test_nothing_is_known_of_a_file_that_was_never_read(big, record):
    assert Contents(record).known(big[0]) == ""
    assert not record.exists()


def test_a_file_is_read_once_and_never_again_while_size_and_time_stay(big, record, monkeypatch):
    found = Contents(record).of(big[0])
    assert len(found) == 64
    monkeypatch.setattr(module, "content_digest", refuse)
    again = Contents(record)
    assert again.known(big[0]) == again.of(big[0]) == found


def test_a_touched_and_a_copied_file_have_the_same_digest(big, record, tmp_path):
    found = Contents(record).of(big[0])
    os.utime(big[0], ns=(1, 1))
    assert Contents(record).known(big[0]) == "", "it has to be looked at"
    assert Contents(record).of(big[0]) == found
    copy = shutil.copyfile(big[0], tmp_path / "elsewhere.svs")
    assert Contents(record).of(str(copy)) == found


def test_one_byte_in_the_middle_or_another_size_is_another_digest(big, record, tmp_path):
    contents = Contents(record)
    longer = tmp_path / "longer.svs"
    with open(big[0], "rb") as file:
        longer.write_bytes(file.read() + b"\0")
    assert len({contents.of(path) for path in (*big, str(longer))}) == 3


def test_a_file_that_is_gone_or_cannot_be_read_keeps_what_it_had(big, record, tmp_path):
    found = Contents(record).of(big[0])
    os.unlink(big[0])
    assert Contents(record).of(big[0]) == Contents(record).known(big[0]) == found
    os.mkdir(big[0])  # it is there, and cannot be read
    assert Contents(record).of(big[0]) == found
    assert Contents(record).of(str(tmp_path / "never.svs")) == ""


def test_a_record_cut_short_costs_a_second_look_and_nothing_else(big, record):
    found = [Contents(record).of(path) for path in big]
    record.write_text(record.read_text()[:-70])  # killed while the last line was written
    again = Contents(record)
    assert [again.known(path) for path in big] == [found[0], ""]
    assert again.of(big[1]) == found[1]
    assert Contents(record).of(big[1]) == found[1]


def test_many_files_are_read_side_by_side_with_one_line_each(tmp_path, record):
    paths = [str(tmp_path / f"{number}.txt") for number in range(40)]
    for path in paths:
        with open(path, "w") as file:
            file.write(path)
    contents = Contents(record)
    contents.read([*paths, *paths])
    assert len({contents.known(path) for path in paths}) == 40
    assert len(record.read_text().splitlines()) == 40


def test_rows_have_one_digest_for_one_order_and_content():
    rows = [("S1", "P1"), ("S2", "P2")]
    assert rows_digest(rows) == rows_digest(tuple(rows)) != rows_digest(rows[::-1])
    assert rows_digest([("S1", "P1")]) != rows_digest([("S1", "P2")])
