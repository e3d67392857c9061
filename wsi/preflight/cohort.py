"""What the slides are together: alike or mixed, of all patients or not, enough of them or not."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from wsi.preflight.rows import SlideRow

POWERS = (2.5, 5, 10, 20, 40, 80)
POWER_MPP = 10.0  # um/px at 1x: 0.25 at 40x
SAID = ("slides.csv", "openslide.mpp", "aperio.MPP")  # sources of a scale that mean a scale


def notes(rows: Sequence[SlideRow], scale: Mapping[str, object], drop: Sequence[str]) -> list[str]:
    """Return sentences on what is mixed, doubtful or missing in the cohort as a whole."""
    usable = [row for row in rows if row.usable]
    powers = Counter(power(row.mpp) for row in usable if row.mpp)
    found = []
    if len(powers) > 1:
        mixed = f"The scans have different powers: {_shares(powers, '{:g}x')}."
        if scale["by"] == "mpp":
            mixed += (
                " Patches are the same um/px on all of them; still, see that the power does not go "
                "with a site or an outcome."
            )
        else:
            mixed += (
                f" With scale: {{by: {scale['by']}}} their patches differ in um/px; patch by mpp."
            )
        found.append(mixed)
    formats = Counter(row.format for row in usable)
    if len(formats) > 1:
        found.append(
            f"The files have different formats, so probably scanners: {_shares(formats, '{}')}. "
            "Models can tell scanners apart; see that they do not go with a site or an outcome."
        )
    guessed = [row.slide_id for row in usable if row.mpp and row.mpp_source not in SAID]
    if guessed:
        found.append(
            f"The scale of {_some(guessed)} is only known from resolution tags or the objective "
            "power; if it is wrong, give it in a column mpp of the slide table."
        )
    if drop:
        found.append(
            f"The run drops patches flagged {' or '.join(drop)}; they are still counted here."
        )
    kept = {row.patient_id for row in usable}
    lost = [p for p in dict.fromkeys(row.patient_id for row in rows) if p not in kept]
    if lost:
        found.append(f"Patients without a usable slide, who would be left out: {_some(lost)}.")
    return found


def verdict(rows: Sequence[SlideRow], max_failed_slides: float, strict: bool) -> str:
    """Return the last line: whether the run would go on with these slides."""
    total, failed = len(rows), sum(not row.usable for row in rows)
    allowed = 0 if strict else max(k for k in range(total + 1) if k / total <= max_failed_slides)
    on = failed <= allowed and failed < total
    rule = "strict" if strict else "max_failed_slides"
    return (
        f"{total - failed} slide{'s' * (total - failed != 1)} ready, {failed} with problems "
        f"({rule} allows {allowed}): the run would {'go on' if on else 'stop'}."
    )


def power(mpp: float) -> float:
    """Return the objective power that a scale is nearest to."""
    return min(POWERS, key=lambda power: abs(math.log(mpp * power / POWER_MPP)))


def _shares(counts: Counter, form: str) -> str:
    total = counts.total()
    return ", ".join(
        f"{form.format(name)} {count} ({count / total:.0%})" for name, count in counts.most_common()
    )


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
