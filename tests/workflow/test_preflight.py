"""`snakemake preflight`: a page before the long run, and no job of the run itself."""

import csv

import h5py
import pytest

pytestmark = pytest.mark.xdist_group("preflight")


@pytest.fixture(scope="module")
def checked(new_project, tmp_path_factory):
    """A cohort with one slide missing and one copied, and the page that was printed for it."""
    project = new_project(tmp_path_factory.mktemp("preflight") / "project")
    slides = project.folder / "data/slides"
    (slides / "S010.tiff").unlink()
    (slides / "S009.tiff").write_bytes((slides / "S007.tiff").read_bytes())
    return project, project.run("preflight", "--quiet").stdout


def rows(project):
    with open(project.folder / "results/preflight/slides.csv", newline="") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def jobs(project):
    """Return the rules that have ever run."""
    logs = project.folder / "results/logs"
    return {path.relative_to(logs).parts[0].split(".")[0] for path in logs.rglob("*.log")}


def test_the_page_is_printed(checked):
    project, page = checked
    assert page.strip() == (project.folder / "results/preflight/summary.txt").read_text().strip()
    for said in ("S010 (unreadable): data/slides/S010.tiff does not exist", "(no_scale)",
                 "S007 and S009 are copies of one file", "different patients (P007 and P009)",
                 "free now at results", "patches/s on this machine"):  # fmt: skip
        assert said in page
    assert page.strip().splitlines()[-1] == (
        "9 slides ready, 4 with problems (max_failed_slides allows 5): the run would go on."
    )


def test_nothing_but_the_check_has_run_and_all_does_not_run_it(checked):
    project, _ = checked
    assert jobs(project) == {"check_slides", "preflight"}
    assert not any("check" in job for job in project.planned())


def test_asked_again_it_prints_again_and_checks_only_what_changed(checked):
    project, _ = checked
    table = project.folder / "results/preflight/slides.csv"
    before = table.stat().st_mtime_ns
    assert project.planned("preflight") == {"what the check has found"}
    page = project.run("preflight", "--quiet", "--config", "max_failed_slides=0.35").stdout
    assert table.stat().st_mtime_ns == before
    assert page.strip().endswith("(max_failed_slides allows 4): the run would go on.")
    with open(project.folder / "data/slides/S001.tiff", "ab") as file:
        file.write(b"changed")
    assert project.planned("preflight") == {"check of all slides", "what the check has found"}


@pytest.mark.slow
def test_it_foresees_what_the_run_finds(checked):
    project, _ = checked
    project.run("patches")
    for name, row in rows(project).items():
        with h5py.File(project.folder / f"results/patches/level1/{name}.h5") as file:
            assert len(file["coords"]) == int(row["patches"] or 0)
            usable = row["status"] in ("ok", "check")
            assert file.attrs["kind"] == ("" if usable else row["status"])
