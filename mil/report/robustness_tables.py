"""What the report says of trained models on damaged patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mil.report.result_tables import interval_text, number_text
from mil.report.slide_pictures import inlined
from mil.tasks import SCORES_IN_WORDS


@dataclass(frozen=True)
class RobustnessRow:
    """One experiment: its score undamaged and at the worst strength, as text."""

    experiment: str
    undamaged: str
    worst: str
    worst_interval: str
    difference: str
    difference_interval: str


@dataclass(frozen=True)
class RobustnessCurve:
    """One perturbation: its figure, its rows, and what the worst strength was.

    `score` is in words, `counted` on whom it is.
    """

    name: str
    picture: str
    level: str
    repeats: int
    score: str
    counted: str
    single_patches: bool
    rows: list[RobustnessRow]


def curves(figures: Sequence[str | Path], unit: str = "patient") -> list[RobustnessCurve]:
    """Return what is known of each figure from the CSV beside it; `unit` is what is tested."""
    return [_curve(Path(figure), unit) for figure in figures]


def _curve(figure: Path, unit: str) -> RobustnessCurve:
    text = {"experiment": str, "level": str, "unit": str}
    table = pd.read_csv(figure.with_suffix(".csv"), dtype=text).fillna({"unit": ""})
    score, counted = "C", f"{table['n'].max()} {unit}s"
    if "c_index" in table:
        table["value"] = table["c_index"]
        events = table["events"].max()
        counted += f", {events} {'event' if events == 1 else 'events'}"
    else:
        score = SCORES_IN_WORDS[table["metric"].iloc[0]]
    worst = table[table["strength"] == table["strength"].max()].set_index("experiment")
    plain = table[table["strength"] == 0].set_index("experiment")
    return RobustnessCurve(
        name=figure.stem,
        picture=inlined(figure),
        level=worst["level"].iloc[0],
        repeats=int(worst["repeats"].max()),
        score=score,
        counted=counted,
        single_patches=bool(table["unit"].str.contains("patch").any()),
        rows=[_row(name, plain.loc[name], row) for name, row in worst.iterrows()],
    )


def _row(name: str, plain: pd.Series, worst: pd.Series) -> RobustnessRow:
    difference = {"low": worst["difference_low"], "high": worst["difference_high"]}
    return RobustnessRow(
        name,
        number_text(plain["value"]),
        number_text(worst["value"]),
        interval_text(worst),
        number_text(worst["difference"], signed=True),
        interval_text(difference, signed=True),
    )
