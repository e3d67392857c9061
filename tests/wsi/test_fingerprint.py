import shutil

import pytest

from wsi.fingerprint import MIB, content_digest, fingerprint
from wsi.reader import Slide


def of(path):
    with Slide(path) as slide:
        return fingerprint(path, slide.properties)


@pytest.fixture
def two(make_slide, noise, tmp_path):
    """Two slides of the same size and scale that show different things."""
    return [make_slide(tmp_path / f"{seed}.tiff", noise(1024, 1024, seed)) for seed in (1, 2)]


def test_a_copy_has_the_fingerprint_of_the_slide_and_another_slide_has_not(two, tmp_path):
    copy = shutil.copy(two[0], tmp_path / "renamed.tiff")
    assert of(copy) == of(two[0]) != of(two[1])


def test_the_quickhash_sees_through_a_file_that_was_made_longer(two, tmp_path):
    longer = tmp_path / "longer.tiff"
    longer.write_bytes(two[0].read_bytes() + b"appended")
    found = fingerprint(two[0], {"openslide.quickhash-1": "abc"})
    assert found == fingerprint(longer, {"openslide.quickhash-1": "abc"}) == "quickhash-1:abc"


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB])
def test_without_a_quickhash_size_and_both_ends_count(tmp_path, size):
    path = tmp_path / "file"
    content = bytearray(i % 251 for i in range(size))
    path.write_bytes(content)
    found = {fingerprint(path, {})}
    for position in {0, size - 1} & set(range(size)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        found.add(fingerprint(path, {}))
    path.write_bytes(content + b"\0")
    found.add(fingerprint(path, {}))
    assert len(found) == 2 + len({0, size - 1} & set(range(size)))


def test_the_middle_of_a_long_file_is_not_read(tmp_path):
    path = tmp_path / "file"
    content = bytearray(3 * MIB)
    path.write_bytes(content)
    before = fingerprint(path, {})
    content[3 * MIB // 2] = 1
    path.write_bytes(content)
    assert fingerprint(path, {}) == before
    assert before.startswith("ends:")


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 2 * MIB + 1, 3 * MIB])
def test_the_content_of_a_file_up_to_three_mib_is_told_by_every_byte(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    found = {content_digest(path)}
    positions = {0, size // 3, size // 2, size - 2, size - 1, MIB, 2 * MIB} & set(range(size))
    for position in positions:
        changed = bytearray(size)
        changed[position] = 1
        path.write_bytes(changed)
        found.add(content_digest(path))
    assert len(found) == 1 + len(positions)


def test_the_content_of_a_larger_file_is_told_by_its_first_middle_and_last_mib(tmp_path):
    path, size = tmp_path / "file", 10 * MIB
    digests = []
    for position in (0, MIB - 1, size // 2, size - MIB, size - 1, 2 * MIB, None):
        changed = bytearray(size)
        if position is not None:
            changed[position] = 1
        path.write_bytes(changed)
        digests.append(content_digest(path))
    assert len(set(digests[:5]) | {digests[6]}) == 6
    assert digests[5] == digests[6], "elsewhere it is not seen, as the docstring says"
