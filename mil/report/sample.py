"""Which slides the report shows."""

from collections.abc import Sequence

MOST = 60


def shown_slides(slide_ids: Sequence[str]) -> list[str]:
    """Return the slides whose pictures the report shows: all, or an even sample of 60."""
    if len(slide_ids) <= MOST:
        return list(slide_ids)
    step = (len(slide_ids) - 1) / (MOST - 1)
    return [slide_ids[round(place * step)] for place in range(MOST)]
