"""Figures of predicted distributions, and the tables that they show."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mil.distributions.calibration_figure import calibration_table
from mil.distributions.chosen_patients import chosen_patients
from mil.distributions.draw import FIGURES, draw_distributions
from mil.distributions.intervals import predicted_intervals
from mil.distributions.over_time import scores_over_time
from mil.fold_predictions import FoldPredictions, read_predictions
from mil.probability_metrics import calibration_rows
from mil.rank_metrics import auc_rows
from mil.stored_curves import baseline_arrays, curves_of
from mil.survival.breslow import breslow_baseline
from mil.survival.metrics.brier import brier_scores, marginal_curves
from wsi.storage import save_npz

KINDS = ["draws", "bins", "cox", "time"]


def write_folds(folder, kind, folds=3, n=150):
    """Write predictions and draws of a head of each kind, as ``predict_fold`` does."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=n)
    death, censoring = rng.exponential(30 * np.exp(-x)), rng.uniform(5, 90, n)
    people = pd.DataFrame(
        {
            "patient_id": [f"{k:03d}" for k in range(n)],
            "time": np.minimum(death, censoring) + 0.1,
            "event": (death <= censoring).astype(int),
        }
    )
    paths = {"predictions": [], "draws": []}
    for k in range(folds):
        part = np.where(np.arange(n) % folds == k, "test", "train")
        arrays = {"patient_id": people["patient_id"].to_numpy(str), "alarms": np.array([], "U1")}
        arrays["draws"] = np.zeros((n, 0), np.float32)
        risk = x + 0.4 * rng.normal(size=n)
        if kind == "draws":
            arrays["draws"] = rng.exponential(30 * np.exp(-risk)[:, None], (n, 60))
        if kind == "bins":
            arrays["edges"] = np.array([0, 8, 16, 30, np.inf])
            ends = np.array([8, 16, 30, 90])
            arrays["survival"] = np.exp(-ends / 30 * np.exp(risk)[:, None])
        if kind == "cox":
            train = people[part == "train"]
            baseline = breslow_baseline(train["time"], train["event"], risk[part == "train"])
            arrays |= baseline_arrays(baseline)
        curves = curves_of(arrays, risk)
        time = 20 * np.exp(-risk) if curves is None else curves.median
        table = people.assign(
            part=part, risk=risk, predicted_time=np.where(np.isinf(time), np.nan, time)
        )
        paths["predictions"].append(folder / f"predictions{k}.csv")
        paths["draws"].append(folder / f"draws{k}.npz")
        table.assign(time_flag="").to_csv(paths["predictions"][-1], index=False)
        save_npz(paths["draws"][-1], **arrays)
    return paths


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def folds(tmp_path, kind):
    return read_predictions(*write_folds(tmp_path, kind).values())


def test_every_figure_is_written_with_what_it_shows(tmp_path, kind):
    contents = []
    paths = write_folds(tmp_path, kind)
    for run in ("a", "b") if kind == "draws" else ("a",):
        figures = {name: tmp_path / run / f"{name}.svg" for name in FIGURES}
        draw_distributions(
            name="abmil", **paths, figures=figures, bootstrap=20, seed=1, unit="months"
        )
        contents.append({f.name: f.read_bytes() for f in sorted((tmp_path / run).iterdir())})
    assert contents[0] == contents[-1]
    assert sorted(contents[0]) == sorted(f"{n}.{end}" for n in FIGURES for end in ("csv", "svg"))
    shown = {n for n in FIGURES if len(pd.read_csv(tmp_path / f"a/{n}.csv"))}
    without = {"draws": set(), "cox": set(), "bins": {"calibration"}}
    assert shown == set(FIGURES) - without.get(
        kind, {"chosen_patients", "intervals", "calibration"}
    )
    if kind != "time":
        intervals = contents[0]["intervals.svg"].decode()
        assert f"n = 150, {pd.read_csv(paths['predictions'][0])['event'].sum()} events" in intervals
        assert "collapsed" in intervals


def test_intervals_are_nested_and_every_patient_is_there_once(folds, kind):
    table = predicted_intervals(folds)
    if kind == "time":
        assert not len(table)
        return
    assert sorted(table["patient_id"]) == [f"{k:03d}" for k in range(150)]
    ends = [
        table[f"{end}_{level}"] for end, levels in (("low", (95, 90, 80, 50)),) for level in levels
    ]
    ends += [table["median"], *(table[f"high_{level}"] for level in (50, 80, 90, 95))]
    for less, more in pairwise(ends):
        assert (less <= more).all()
    assert table["median"].is_monotonic_increasing
    one = table[table["patient_id"] == folds[1].test["patient_id"][4]].iloc[0]
    assert one["median"] == folds[1].curves.median[4]
    repeated = predicted_intervals([*folds, *folds])
    pd.testing.assert_frame_equal(repeated, table)


def test_chosen_patients_are_events_and_censored_ones_of_low_middle_and_high_risk(folds, kind):
    table = chosen_patients(folds)
    if kind == "time":
        assert not len(table)
        return
    people = table.groupby(["event", "quantile"]).first()
    assert people.index.tolist() == [(e, q) for e in (0, 1) for q in (0.1, 0.5, 0.9)]
    away = people["risk_percentile"] - 100 * people.index.get_level_values("quantile")
    assert away.abs().max() <= 15  # few are censored at a high risk
    assert people["patient_id"].nunique() == 6
    for _, curve in table.groupby("patient_id"):
        one = curve.iloc[0]
        test = folds[one["fold"]].test
        row = test.index[test["patient_id"] == one["patient_id"]]
        own = folds[one["fold"]].curves.rows(row)
        np.testing.assert_allclose(own.at(curve["knot"])[0], curve["survival"], atol=1e-12)
        assert (test.loc[row, "time"] == one["time"]).all()


def test_the_calibration_is_that_of_the_metrics(folds, kind):
    table, rows = calibration_table(folds), calibration_rows(folds)
    if kind in ("time", "bins"):
        assert not len(table)
        assert rows == []
        return
    assert table["patients"].sum() == pytest.approx(150)
    assert table["p_value"].iloc[0] == rows[1].value
    shares = table["patients"].to_numpy().reshape(10, 10).sum(axis=1)
    assert ((shares - 15) ** 2 / 15).sum() == pytest.approx(rows[0].value)


def test_scores_over_time_are_those_of_the_folds(folds, kind):
    table = scores_over_time(folds, 50, 1)
    u = table["time"].iloc[11]
    at_horizon = auc_rows(folds, [u], 50, 1)[-1]
    assert table["auc"].iloc[11] == pytest.approx(at_horizon.value)
    assert table["auc_low"].iloc[11] == pytest.approx(at_horizon.low)
    assert (table["auc_low"] <= table["auc"]).all()
    if kind == "time":
        assert table["brier"].isna().all()
        return
    labels = [(f.test["time"], f.test["event"], *f.training) for f in folds]
    for name, curves_at in (
        ("brier", lambda fold: fold.curves.at([u])),
        ("brier_km", lambda fold: marginal_curves([u], len(fold.test), *fold.training)),
    ):
        each = [
            brier_scores(curves_at(f), [u], *own)[0] for f, own in zip(folds, labels, strict=True)
        ]
        assert table[name].iloc[11] == pytest.approx(np.mean(each))


def test_a_fold_without_test_patients_has_no_figures_of_shared_times(folds):
    empty = FoldPredictions(3, folds[0].train, folds[0].test.head(0))
    assert not len(scores_over_time([*folds, empty], 20, 1))
