"""All slide tables of a run: their slides share one folder of results, so one set of names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mil.problems import did_you_mean, listed
from mil.tables import Slide, TableError, read_slides


@dataclass(frozen=True)
class SlideTable:
    """One table: its path, its slides in order, and the ids of it that are left out on purpose.

    `owners` has slide and patient of every row, of those left out too.
    """

    path: str
    slides: tuple[Slide, ...]
    exclude: tuple[str, ...]
    owners: tuple[tuple[str, str], ...]


def read_slide_tables(
    paths: Mapping[str, str], exclude: Sequence[str], *, need_paths: bool
) -> dict[str, SlideTable]:
    """Read the slide tables of all cohorts.

    Parameters
    ----------
    paths : cohort -> table.
    exclude : ids of slides to leave out, each in one of the tables.
    need_paths : see `read_slides`.

    Raises
    ------
    TableError
        A table that is wrong in itself, an id that two tables give to different slides, or one
        under `exclude` that is in none.
    """
    every = {name: read_slides(path, need_paths=need_paths) for name, path in paths.items()}
    problems = []
    known: dict[str, tuple[Slide, str]] = {}
    for name, slides in every.items():
        for slide in slides:
            first, table = known.setdefault(slide.slide_id, (slide, paths[name]))
            if first != slide:
                problems.append(
                    f"{paths[name]}: slide {slide.slide_id} is not the slide of that id in {table} "
                    "(another patient, path, mpp, tissue, patches or annotations). Results are "
                    "stored by slide_id, so give one of them another id, or the same row."
                )
    problems += [
        f"exclude names slide {slide}, not in {listed(dict.fromkeys(paths.values()))}"
        f"{did_you_mean(slide, known) or '.'}"
        for slide in exclude
        if slide not in known
    ]
    if problems:
        raise TableError(problems)
    return {
        name: SlideTable(
            paths[name],
            tuple(slide for slide in slides if slide.slide_id not in exclude),
            tuple(slide for slide in exclude if any(own.slide_id == slide for own in slides)),
            tuple((slide.slide_id, slide.patient_id) for slide in slides),
        )
        for name, slides in every.items()
    }


def patients_of(slides: Sequence[Slide]) -> dict[str, list[str]]:
    """Return the slide ids of each patient, both in table order."""
    found: dict[str, list[str]] = {}
    for slide in slides:
        found.setdefault(slide.patient_id, []).append(slide.slide_id)
    return found
