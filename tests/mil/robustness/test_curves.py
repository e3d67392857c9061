"""C against strength: values, intervals, differences, and what cannot be used."""

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index

from mil.evaluation import concordance_rows
from mil.fold_predictions import PredictionError, read_predictions
from mil.robustness.curves import draw_robustness
from mil.survival.metrics.bootstrap import resample_counts

FOLDS, SIZE, DRAWS, SEED = 2, 30, 40, 3
LEVELS = {"occlusion-zero": ["0.5", "1"], "blur": ["lighter", "strong"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Predictions of two experiments on two folds, undamaged and damaged in three repeats."""
    folder = tmp_path_factory.mktemp("robustness")
    random = np.random.default_rng(0)
    paths = {"predictions": [], "occlusion-zero": [], "blur": []}
    tables = []
    for fold in range(FOLDS):
        time = random.exponential(10, SIZE) + 0.1
        event = (random.random(SIZE) < 0.6).astype(int)
        ids = [f"P{fold}{i:02d}" for i in range(SIZE)]
        tables.append(pd.DataFrame({"patient_id": ids, "time": time, "event": event}))
    for name in ("first", "second"):
        for fold, table in enumerate(tables):
            train = table.assign(part="train", patient_id=["T" + p for p in table["patient_id"]])
            both = pd.concat([train, table.assign(part="test")])
            both["risk"] = -np.log(both["time"]) + random.normal(0, 0.5, len(both))
            both["predicted_time"], both["time_flag"] = np.nan, ""
            path = folder / f"{name}{fold}.csv"
            both.to_csv(path, index=False)
            paths["predictions"].append(path)
            for curve, levels in LEVELS.items():
                repeats = 1 if curve == "blur" else 3
                rows = [
                    table.assign(
                        perturbation=curve, level=level, repeat=repeat,
                        unit="" if curve == "blur" else "region",
                        risk=-np.log(table["time"]) + random.normal(0, 1 + 2 * i, SIZE),
                    )
                    for i, level in enumerate(levels)
                    for repeat in range(repeats)
                ]  # fmt: skip
                path = folder / f"{name}{fold}.{curve}.csv"
                others = table.assign(perturbation="other", level="9", repeat=0, unit="", risk=0)
                pd.concat([*rows, others]).to_csv(path, index=False)
                paths[curve].append(path)
    return paths


def draw(files, folder, curve, names=("first", "second")):
    draw_robustness(
        curve=curve,
        names=list(names),
        predictions=files["predictions"],
        damaged=files[curve],
        table=folder / f"{curve}.csv",
        figure=folder / f"{curve}.svg",
        bootstrap=DRAWS,
        seed=SEED,
    )
    return pd.read_csv(folder / f"{curve}.csv", dtype={"level": str}, keep_default_na=False)


@pytest.fixture(scope="module", params=LEVELS)
def found(request, files, tmp_path_factory):
    return request.param, draw(files, tmp_path_factory.mktemp("drawn"), request.param)


def test_strength_0_is_the_ordinary_evaluation(files, found):
    """The same value and the same interval, to the last digit of the files."""
    _, table = found
    for number, name in enumerate(("first", "second")):
        folds = read_predictions(files["predictions"][FOLDS * number :][:FOLDS])
        mean = next(r for r in concordance_rows(folds, DRAWS, SEED) if r.fold == "mean")
        row = table[(table["experiment"] == name) & (table["strength"] == 0)].iloc[0]
        own = [float(row[column]) for column in ("c_index", "low", "high")]
        assert own == [float(f"{v:.9g}") for v in (mean.value, mean.low, mean.high)]
        assert (row["level"], row["repeats"], row["n"]) == ("none", 1, FOLDS * SIZE)


def c_of(path, curve, level, counts=None):
    """C of lifelines, mean over repeats; with counts every patient so many times."""
    table = pd.read_csv(path, dtype={"level": str})
    table = table[(table["perturbation"] == curve) & (table["level"] == level)]
    values = []
    for _, rows in table.groupby("repeat"):
        drawn = rows if counts is None else rows.loc[rows.index.repeat(counts.astype(int))]
        values.append(concordance_index(drawn["time"], -drawn["risk"], drawn["event"]))
    return np.mean(values)


def test_values_are_lifelines_means_over_repeats_and_folds(files, found):
    curve, table = found
    for number, name in enumerate(("first", "second")):
        paths = files[curve][FOLDS * number :][:FOLDS]
        own = table[table["experiment"] == name]
        assert own["level"].tolist() == ["none", *LEVELS[curve]]
        assert own["strength"].tolist() == ([0, 1, 3] if curve == "blur" else [0, 0.5, 1])
        for level in LEVELS[curve]:
            row = own[own["level"] == level].iloc[0]
            expected = np.mean([c_of(path, curve, level) for path in paths])
            assert float(row["c_index"]) == pytest.approx(expected, abs=1e-9)


def test_intervals_draw_patients_inside_folds_and_average_repeats(files, found):
    """Worked out draw by draw with lifelines: of one experiment, and of the paired difference."""
    curve, table = found
    level = LEVELS[curve][-1]
    counts = [resample_counts(SIZE, DRAWS, SEED, fold) for fold in range(FOLDS)]
    draws = np.array(
        [
            [
                np.mean(
                    [
                        c_of(files[curve][FOLDS * number + fold], curve, level, counts[fold][draw])
                        for fold in range(FOLDS)
                    ]
                )
                for draw in range(DRAWS)
            ]
            for number in range(2)
        ]
    )
    row = table[(table["experiment"] == "second") & (table["level"] == level)].iloc[0]
    for values, name in ((draws[1], ""), (draws[1] - draws[0], "difference_")):
        expected = np.quantile(values, [0.025, 0.975])
        own = [float(row[f"{name}{end}"]) for end in ("low", "high")]
        np.testing.assert_allclose(own, expected, atol=1e-8)
    first = table[(table["experiment"] == "first") & (table["level"] == level)].iloc[0]
    gap = float(row["c_index"]) - float(first["c_index"])
    assert float(row["difference"]) == pytest.approx(gap, abs=1e-8)
    assert first["difference"] == ""
    assert int(row["shared"]) == FOLDS * SIZE


def test_a_curve_has_the_same_bytes_again(files, tmp_path):
    for folder in ("a", "b"):
        draw(files, tmp_path / folder, "blur")
    for name in ("blur.csv", "blur.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_one_experiment_has_a_curve_without_differences(files, tmp_path):
    one = {key: paths[:FOLDS] for key, paths in files.items()}
    table = draw(one, tmp_path, "occlusion-zero", names=["first"])
    assert set(table["difference"]) == {""}
    assert (tmp_path / "occlusion-zero.svg").stat().st_size > 5000


def test_patients_that_are_missing_are_named(files, tmp_path):
    table = pd.read_csv(files["blur"][0], dtype={"level": str})
    lost = table["patient_id"].iloc[4]
    table.drop(4).to_csv(tmp_path / "less.csv", index=False)
    less = files | {"blur": [tmp_path / "less.csv", *files["blur"][1:]]}
    with pytest.raises(PredictionError, match=rf"level lighter, repeat 0 .*\({lost}\); predict"):
        draw(less, tmp_path, "blur")
