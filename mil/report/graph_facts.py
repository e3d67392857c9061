"""What the report says of the graphs, so that an odd one is seen."""

from typing import Any

import numpy as np
import pandas as pd

from mil.report.slide_pictures import spread

SHOWN = 5  # slides named
ODD = (
    10  # % of long edges; a whole piece of two coarse patches has 8 at its border, larger ones less
)

_QUANTITIES = {
    "in_degree_min": "In-degree, least of the slide",
    "in_degree_median": "In-degree, median",
    "in_degree_max": "In-degree, most",
    "pieces": "Pieces of the graph",
    "long_edges": "Edges longer than two patches, %",
}


def graph_facts(table: pd.DataFrame) -> dict[str, Any]:
    """Return what the report says of the graphs of a cohort.

    Parameters
    ----------
    table : ``cohort/<encoder>.graphs.csv``, all cells text.

    Returns
    -------
    ``spreads`` : a `Spread` over all slides for each quantity; ``odd`` : rows of the slides with
    most long edges, and of these first those in most pieces; none where all have few.
    """
    numbers = table.astype({name: float for name in ("n_patches", *_QUANTITIES)})
    numbers["long_edges"] *= 100
    odd = numbers[numbers["long_edges"] > ODD].sort_values(
        ["long_edges", "pieces", "slide_id"], ascending=[False, False, True], kind="stable"
    )
    return {
        "spreads": [spread(label, np.array(numbers[n])) for n, label in _QUANTITIES.items()],
        "odd": odd.head(SHOWN).to_dict("records"),
    }
