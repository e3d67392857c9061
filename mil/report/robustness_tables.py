"""What the report says of trained models on damaged patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mil.report.result_tables import interval_text, number_text
from mil.report.slide_pictures import inlined


@dataclass(frozen=True)
class RobustnessRow:
    """One experiment: C undamaged and at the worst strength, as text."""

    experiment: str
    undamaged: str
    worst: str
    worst_interval: str
    difference: str
    difference_interval: str


@dataclass(frozen=True)
class RobustnessCurve:
    """One perturbation: its figure, its rows, and what the worst strength was."""

    name: str
    picture: str
    level: str
    repeats: int
    n: int
    events: int
    single_patches: bool
    rows: list[RobustnessRow]


def curves(figures: Sequence[str | Path]) -> list[RobustnessCurve]:
    """Return what is known of each figure from the CSV beside it."""
    return [_curve(Path(figure)) for figure in figures]


def _curve(figure: Path) -> RobustnessCurve:
    text = {"experiment": str, "level": str, "unit": str}
    table = pd.read_csv(figure.with_suffix(".csv"), dtype=text).fillna({"unit": ""})
    worst = table[table["strength"] == table["strength"].max()].set_index("experiment")
    plain = table[table["strength"] == 0].set_index("experiment")
    return RobustnessCurve(
        name=figure.stem,
        picture=inlined(figure),
        level=worst["level"].iloc[0],
        repeats=int(worst["repeats"].max()),
        n=int(plain["n"].max()),
        events=int(plain["events"].max()),
        single_patches=bool(table["unit"].str.contains("patch").any()),
        rows=[_row(name, plain.loc[name], row) for name, row in worst.iterrows()],
    )


def _row(name: str, plain: pd.Series, worst: pd.Series) -> RobustnessRow:
    difference = {"low": worst["difference_low"], "high": worst["difference_high"]}
    return RobustnessRow(
        name,
        number_text(plain["c_index"]),
        number_text(worst["c_index"]),
        interval_text(worst),
        number_text(worst["difference"], signed=True),
        interval_text(difference, signed=True),
    )
