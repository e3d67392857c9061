"""Two hundred damaged files: each ends in an outcome or in marked repairs, never in a crash.

What cannot be promised, and is not asserted: JPEG has no checksum, so a flipped bit may change
coefficients without any decoder noticing. The reader holds each tile against the coarser level,
which shows gross damage; the coarsest level has nothing to be held against, nor have pictures and
slides of a single level. The table says how many files show pixels that are wrong and not marked.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.wsi.damaging import Case, damaged_files, healthy_slides
from tests.wsi.read_damaged import GROSS, read_levels
from wsi.commandline import encode
from wsi.outcome import SlideError
from wsi.reader import Slide
from wsi.storage import read_outcome

PROJECT = Path(__file__).resolve().parents[2]
REAL = PROJECT / "../shared/data/slides"
LIMIT = 30  # seconds for a file
KINDS = ("unreadable", "no_scale", "no_tissue", "damaged")
ENDINGS = (
    "outcome",
    "tiles marked",
    "nothing wrong",
    "small differences",
    "coarsest level wrong",
    "finer level wrong",
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "healthy").mkdir()
    (folder / "files").mkdir()
    healthy = healthy_slides(folder / "healthy", REAL)
    for path in healthy.values():
        pixels = folder / "pixels" / path.name
        pixels.mkdir(parents=True)
        with Slide(path) as slide:
            for level, rgb in enumerate(read_levels(slide)):
                np.save(pixels / f"{level}.npy", rgb)
            assert not slide.damaged, f"{path.name} is healthy, but {slide.damaged} is marked"
    return list(damaged_files(folder / "files", healthy)), folder / "pixels"


def read_all(cases: list[Case], pixels: Path) -> list[dict]:
    """Return what became of each file; a child that crashes or hangs is followed by another."""
    results: list[dict] = []
    while len(results) < len(cases):
        child = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("read_damaged.py")],
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for case in cases[len(results) :]:
            healthy = pixels / case.healthy.name if case.healthy else ""
            child.stdin.write(f"{case.path}\t{healthy}\n")
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], LIMIT)
            if line := child.stdout.readline() if ready else "":
                results.append(json.loads(line))
                continue
            child.kill()
            code = child.wait()
            results.append({"ending": f"crash ({code})" if ready else "hang", "sentence": ""})
            break
        child.stdin.close()
        child.stdout.close()
        child.wait()
    return results


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_without_permission_is_an_outcome(make_slide, glass):
    with tempfile.TemporaryDirectory() as folder:
        path = make_slide(Path(folder) / "a.tiff", glass(600, 600))
        os.chmod(folder, 0o755)
        path.chmod(0)
        os.seteuid(65534)  # nobody
        try:
            with pytest.raises(SlideError, match="may not be read by this user") as error:
                Slide(path)
        finally:
            os.seteuid(0)
    assert error.value.kind == "unreadable"


def ending(result: dict) -> str:
    """Return in which column of the table a file is counted."""
    if result["ending"] != "opened":
        return "outcome" if result["ending"] in KINDS else result["ending"]
    gross = result.get("gross", [0])
    if max(gross[:-1], default=0) > GROSS:
        return "finer level wrong"
    if gross[-1] > GROSS:
        return "coarsest level wrong"
    if result["marked"]:
        return "tiles marked"
    return "small differences" if result.get("small", 0) else "nothing wrong"


def table(cases: list[Case], results: list[dict]) -> str:
    counts = Counter((case.damage, ending(r)) for case, r in zip(cases, results, strict=True))
    columns = [*ENDINGS, *sorted({e for _, e in counts} - set(ENDINGS))]
    lines = [f"{'damage':<28}" + "".join(f"{column:>22}" for column in columns)]
    for damage in dict.fromkeys(case.damage for case in cases):
        row = "".join(f"{counts[damage, column] or '-':>22}" for column in columns)
        lines.append(f"{damage:<28}{row}")
    totals = "".join(f"{sum(counts[d, c] for d, e in counts if e == c):>22}" for c in columns)
    slowest = max(result.get("seconds", LIMIT) for result in results)
    unmarked = sum(result.get("small", 0) > 0 for result in results) / len(results)
    return "\n".join(
        [
            *lines,
            f"{f'all {len(cases)} files':<28}{totals}",
            f"slowest file: {slowest:.1f} s; files with any unmarked difference: {unmarked:.0%}",
        ]
    )


def test_two_hundred_damaged_files_end_in_an_outcome_or_a_marked_repair(
    cases, capsys, record_property
):
    files, pixels = cases
    assert len(files) >= 200
    results = read_all(files, pixels)
    text = table(files, results)
    record_property("endings", text)
    with capsys.disabled():
        print(f"\n{text}")
    wrong = [
        (case.path.name, result)
        for case, result in zip(files, results, strict=True)
        if ending(result) not in set(ENDINGS) - {"finer level wrong"}
        or (result["ending"] in KINDS and len(result["sentence"]) < 40)
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["jpeg-cut-off-3.tiff", "jpeg-3-sectors-zeroed-0.tiff",
                                  "aperio-3-runs-of-random-bytes-0.svs", "text.svs",
                                  "deflate-end-zeroed-1.tiff"])  # fmt: skip
def test_the_stage_of_such_a_file_ends_well_and_says_what_became_of_it(cases, tmp_path, name):
    paths = {case.path.name: case.path for case in cases[0]}
    parameters = {"preset": "default", "close_um": 30, "min_area_mm2": 0.01, "min_hole_mm2": 0.02}
    settings = {"slide_id": "S1", "slide": str(paths[name]), "mpp": 0.25, "scale_by": "mpp"}
    settings |= {name: str(tmp_path / f"S1.{name}") for name in ("geojson", "jpg")}
    settings["tissue"], settings["thumbnail"] = settings.pop("geojson"), settings.pop("jpg")
    arguments = encode(settings | {"parameters": parameters})
    command = [sys.executable, "-m", "wsi", "find_tissue", *arguments]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=LIMIT)
    assert result.returncode == 0, result.stderr
    outcome = read_outcome(settings["tissue"])
    assert outcome.ok or outcome.kind in KINDS
    assert outcome.ok or len(outcome.reason) > 40
