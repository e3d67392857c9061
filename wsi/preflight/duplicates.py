"""Slides that are in the table more than once."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from wsi.preflight.rows import SlideRow


@dataclass(frozen=True)
class Duplicate:
    """Rows of one scan, in table order."""

    rows: tuple[SlideRow, ...]

    @property
    def across_patients(self) -> bool:
        """Whether they belong to different patients, which is worse than twice in one bag."""
        return len({row.patient_id for row in self.rows}) > 1

    @property
    def sentence(self) -> str:
        """Which slides, how alike they are, what that does to the study and what to do."""
        names = _joined([row.slide_id for row in self.rows])
        return f"{names} {self._likeness()}. {self._harm()}"

    def _likeness(self) -> str:
        if len({os.path.realpath(row.path) for row in self.rows}) == 1:
            return f"are one file, {self.rows[0].path}"
        sizes = list(dict.fromkeys(row.size_bytes or 0 for row in self.rows))
        if len(sizes) == 1:
            return "are copies of one file"
        megabytes = _joined([f"{size / 1e6:.1f} MB" for size in sizes])
        return f"are the same scan in different files ({megabytes}): one may be cut off or edited"

    def _harm(self) -> str:
        patients = _joined(list(dict.fromkeys(row.patient_id for row in self.rows)))
        if self.across_patients:
            return (
                f"They belong to different patients ({patients}): one may be trained on and the "
                "other tested, which makes results look better than they are. Find out whose "
                "slide it is and name the others under exclude."
            )
        return (
            f"They belong to one patient ({patients}): the scan counts more than once in that "
            "bag. Keep one and name the others under exclude."
        )


def find_duplicates(rows: Sequence[SlideRow]) -> list[Duplicate]:
    """Return the scans that are there more than once, those of different patients first.

    Slides are one scan if their fingerprints are the same or, where they have none because they
    cannot be opened, their paths.
    """
    groups: dict[str, list[SlideRow]] = {}
    for row in rows:
        groups.setdefault(row.fingerprint or os.path.realpath(row.path), []).append(row)
    found = [Duplicate(tuple(group)) for group in groups.values() if len(group) > 1]
    return sorted(found, key=lambda duplicate: not duplicate.across_patients)


def mark_duplicates(rows: Sequence[SlideRow]) -> None:
    """Write into each row which slides are the same scan; usable ones then ask for a look."""
    for duplicate in find_duplicates(rows):
        for row in duplicate.rows:
            row.duplicate_of = " ".join(r.slide_id for r in duplicate.rows if r is not row)
            row.status = "check" if row.usable else row.status


def _joined(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
