"""What an evaluated experiment says, as its reader finds it."""

import numpy as np
import pandas as pd
import pytest

from mil.alarms import collapse_alarms, evenness, gather_alarms
from mil.evaluation import evaluate_experiment
from mil.fold_predictions import FoldPredictions, PredictionError
from mil.problems import InputError
from mil.stored_curves import read_alarms
from mil.survival.curves import curves_of_draws
from mil.survival.metrics import (
    brier_grid,
    default_tau,
    harrell_c,
    integrated_brier,
    kaplan_meier,
    logrank,
    uno_c,
)
from wsi.storage import save_npz

COLUMNS = "metric,fold,value,low,high,sd_over_folds,n,events,pairs,start,end,reason".split(",")


def make_predictions(folds=3, n=80, seed=0):
    """Return a table a fold; each has an offset and a scale of its own, as real models do."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    death, censoring = rng.exponential(20 * np.exp(-x)), rng.uniform(5, 60, n)
    people = pd.DataFrame(
        {
            "patient_id": [f"{k:03d}" for k in range(n)],  # ids that look like numbers stay text
            "time": np.minimum(death, censoring) + 0.1,
            "event": (death <= censoring).astype(int),
        }
    )
    tables = []
    for k in range(folds):
        part = np.array(["train", "train", "validation"])[np.arange(n) % 3]
        part[np.arange(n) % folds == k] = "test"
        risk = 10 * k + (k + 1) * (x + 0.7 * rng.normal(size=n))
        table = people.assign(part=part, risk=risk, predicted_time=15 * np.exp(-x), time_flag="")
        tables.append(table)
    return tables


def make_history(adversarial=False, epochs=12):
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "learning_rate": 1e-4,
            "train_loss": 1 / epoch,
            "validation_loss": 1 / epoch + 0.01 * epoch,
            "validation_c_index": 0.6,
            "discriminator_loss": 1.3 if adversarial else np.nan,
            "adversarial_loss": 0.01 if adversarial else np.nan,
            "chosen": (epoch == 9).astype(int),
        }
    )


def write_draws(folder, tables, spread=None, alarms=()):
    """Write ``draws.npz`` of each fold: draws around the predicted times, or none of them."""
    paths = []
    for k, table in enumerate(tables):
        noise = np.random.default_rng(k).normal(size=(len(table), 0 if spread is None else 99))
        draws = table["predicted_time"].to_numpy()[:, None] * np.exp(noise * (spread or 0))
        paths.append(folder / f"draws{k}.npz")
        save_npz(
            paths[-1],
            patient_id=table["patient_id"].to_numpy(str),
            draws=draws.astype(np.float32),
            alarms=np.array(alarms, dtype=np.str_),
        )
    return paths


def evaluate(folder, tables, histories=None, **options):
    """Write the inputs, evaluate, and return the metrics indexed by (metric, fold).

    With ``spread`` the head has draws of the time, that much apart in logs.
    """
    histories = histories or [make_history() for _ in tables]
    paths = {"predictions": tables, "histories": histories}
    for name, frames in paths.items():
        paths[name] = [folder / f"{name}{k}.csv" for k in range(len(frames))]
        for path, frame in zip(paths[name], frames, strict=True):
            frame.to_csv(path, index=False)
    outputs = {
        "metrics": folder / "out/metrics.csv",
        "alarms": folder / "out/alarms.csv",
        "curves": folder / "out/kaplan_meier.csv",
        "kaplan_meier": folder / "out/kaplan_meier.svg",
        "training_curves": folder / "out/training_curves.svg",
        "training_curves_csv": folder / "out/training_curves.csv",
    }
    settings = {"name": "abmil-cox", "bootstrap": 200, "seed": 42, "unit": "months", **options}
    settings.setdefault("horizons", [12, 36])
    paths["draws"] = write_draws(folder, tables, settings.pop("spread", None))
    evaluate_experiment(**paths, **outputs, **settings)
    metrics = pd.read_csv(outputs["metrics"], dtype={"fold": str}, keep_default_na=False)
    assert list(metrics) == COLUMNS
    numbers = [name for name in COLUMNS if name not in ("metric", "fold", "reason")]
    metrics[numbers] = metrics[numbers].apply(pd.to_numeric)
    return metrics.set_index(["metric", "fold"])


def test_c_index_of_folds_and_their_mean(tmp_path):
    tables = make_predictions()
    metrics = evaluate(tmp_path, tables)
    parts = [t[t["part"] == "test"] for t in tables]
    found = [harrell_c(t["time"], t["event"], t["risk"]) for t in parts]
    for k, c in enumerate(found):
        row = metrics.loc[("c_index", str(k))]
        assert row["value"] == pytest.approx(c.value, abs=1e-8)
        assert (row["n"], row["events"], row["pairs"]) == (c.n, c.events, c.pairs)
        assert row["low"] < c.value < row["high"]
    values = [c.value for c in found]
    mean = metrics.loc[("c_index", "mean")]
    assert mean["value"] == pytest.approx(np.mean(values), abs=1e-8)
    assert mean["sd_over_folds"] == pytest.approx(np.std(values, ddof=1), abs=1e-8)
    assert mean["low"] < mean["value"] < mean["high"]
    assert (mean["n"], mean["events"]) == (80, tables[0]["event"].sum())
    assert mean["reason"] == ""
    # The mean of three folds is surer than any one of them.
    widths = metrics.loc["c_index", "high"] - metrics.loc["c_index", "low"]
    assert widths["mean"] < widths.drop("mean").min()
    weighted = sum(c.value * c.pairs for c in found) / sum(c.pairs for c in found)
    pooled = metrics.loc[("c_index_pair_weighted", "mean")]
    assert pooled["value"] == pytest.approx(weighted, abs=1e-8)
    assert pooled["low"] < weighted < pooled["high"]


def test_an_offset_of_one_fold_changes_nothing_but_its_threshold(tmp_path):
    tables = make_predictions()
    before = evaluate(tmp_path, tables)
    tables[1]["risk"] += 1000
    pd.testing.assert_frame_equal(evaluate(tmp_path, tables), before)


def test_errors_in_time(tmp_path):
    tables = make_predictions()
    metrics = evaluate(tmp_path, tables)
    t = tables[0][tables[0]["part"] == "test"]
    excess, event = t["predicted_time"] - t["time"], t["event"] == 1
    value = metrics.loc[("mae_uncensored", "0"), "value"]
    assert value == pytest.approx(excess[event].abs().mean(), rel=1e-8)
    hinge = np.where(event, excess.abs(), np.maximum(0, -excess))
    assert metrics.loc[("mae_hinge", "0"), "value"] == pytest.approx(hinge.mean(), rel=1e-8)
    for metric in ("mae_uncensored", "mae_hinge"):
        mean, folds = metrics.loc[(metric, "mean")], metrics.loc[metric].drop("mean")
        assert mean["value"] == pytest.approx(folds["value"].mean(), rel=1e-8)
        assert mean["low"] < mean["value"] < mean["high"]


def test_a_head_without_times_has_no_errors_in_time(tmp_path):
    tables = [t.assign(predicted_time=np.nan) for t in make_predictions()]
    metrics = evaluate(tmp_path, tables)
    assert not {"mae_uncensored", "mae_hinge"} & set(metrics.index.get_level_values("metric"))


def test_a_median_that_is_not_reached_leaves_out_only_what_counts_it(tmp_path):
    tables = make_predictions()
    test = tables[2][tables[2]["part"] == "test"]
    censored = test.index[test["event"] == 0][0]
    tables[2].loc[censored, ["predicted_time", "time_flag"]] = np.nan, "not reached"
    metrics = evaluate(tmp_path, tables)
    assert "1 of 26 medians are not reached" in metrics.loc[("mae_pseudo", "2"), "reason"]
    events = metrics.loc[("mae_uncensored", "2")]  # nobody without a time is among them
    assert events["low"] < events["value"] < events["high"]


def test_missing_times_are_counted(tmp_path):
    tables = make_predictions()
    tables[2].loc[tables[2].index[tables[2]["part"] == "test"][0], "predicted_time"] = np.nan
    row = evaluate(tmp_path, tables).loc[("mae_hinge", "2")]
    assert np.isnan(row["value"])
    assert "1 of 26 predicted times are missing" in row["reason"]


# Distributions -----------------------------------------------------------------------------------


def test_probabilities_of_every_fold_and_their_mean(tmp_path):
    tables = make_predictions(n=240)
    metrics = evaluate(tmp_path, tables, spread=0.8)
    for k, table in enumerate(tables):
        train, test = (table[table["part"] == part] for part in ("train", "test"))
        fitted, judged = ((t["time"].to_numpy(), t["event"].to_numpy()) for t in (train, test))
        tau = default_tau(*fitted)
        row = metrics.loc[("uno_c", str(k))]
        assert row["value"] == pytest.approx(uno_c(*judged, test["risk"], *fitted, tau).value)
        assert row["end"] == pytest.approx(tau)
        with np.load(tmp_path / f"draws{k}.npz") as stored:
            curves = curves_of_draws(stored["draws"][table["part"] == "test"])
        grid = brier_grid(*fitted, judged[0])
        expected = integrated_brier(curves.at(grid), grid, *judged, *fitted)
        found = metrics.loc[["ibs", "ibs_km", "ibs_scaled"]].xs(str(k), level="fold")["value"]
        known = [expected.value, expected.reference, expected.scaled]
        np.testing.assert_allclose(found, known, rtol=1e-7)
    for metric in ("uno_c", "antolini_c", "auc_mean", "mae_pseudo", "mae_margin", "ibs_scaled"):
        mean = metrics.loc[(metric, "mean")]
        assert mean["value"] == pytest.approx(metrics.loc[metric, "value"].drop("mean").mean())
        assert mean["low"] < mean["value"] < mean["high"]
        assert (mean["n"], mean["reason"]) == (240, "")


def test_right_distributions_are_calibrated_and_narrow_ones_are_not(tmp_path):
    """Times are exponential around the risk: their logs spread by about 1.3."""
    tables = make_predictions(n=240)
    x = np.random.default_rng(0).normal(size=240)  # what make_predictions draws first
    tables = [t.assign(predicted_time=20 * np.exp(-x) * 0.56) for t in tables]
    wide, narrow = (evaluate(tmp_path, tables, spread=spread) for spread in (1.2, 0.1))
    p = ("d_calibration_p", "pooled")
    assert narrow.loc[p, "value"] < 1e-6 < wide.loc[p, "value"]
    for level in (50, 80, 95):
        metric = f"coverage_{level}"
        assert wide.loc[(metric, "mean"), "value"] == pytest.approx(level / 100, abs=0.08)
        assert narrow.loc[(metric, "mean"), "value"] < level / 100 - 0.2


def test_the_auc_at_a_horizon_takes_ten_cases_and_ten_controls(tmp_path):
    tables = make_predictions(n=240)
    metrics = evaluate(tmp_path, tables, horizons=[0.2, 12, 24.5])
    row = metrics.loc[("auc_24.5", "pooled")]
    assert 0.6 < row["low"] < row["value"] < row["high"]
    assert row["end"] == 24.5
    few = metrics.loc[("auc_0.2", "pooled")]
    assert np.isnan(few["value"])
    assert "it takes 10 of each" in few["reason"]


def test_a_head_without_curves_has_no_probabilities(tmp_path):
    found = set(evaluate(tmp_path, make_predictions()).index.get_level_values("metric"))
    assert not [name for name in found if name.startswith(("ibs", "d_cal", "cover", "antolini"))]
    assert {"uno_c", "auc_mean", "auc_12", "mae_margin"} <= found


def test_alarms_of_predictions_and_of_the_discriminator_are_gathered(tmp_path):
    tables, histories = make_predictions(), [make_history(adversarial=True) for _ in range(3)]
    for k, history in enumerate(histories):
        history["real_accuracy"], history["fake_accuracy"] = (0.0, 1.0) if k == 1 else (0.6, 0.5)
    paths = write_draws(tmp_path, tables, alarms=["<collapsed> here."])
    alarms = gather_alarms(
        [FoldPredictions(0, None, None, alarms=read_alarms(paths[0]))],
        pd.concat([h.assign(fold=k) for k, h in enumerate(histories)]),
    )
    assert alarms.values.tolist() == [
        [0, "<collapsed> here."],
        [1, "the discriminator calls every pair generated: it teaches the generator little."],
    ]


# Risk groups -------------------------------------------------------------------------------------


def test_the_threshold_is_the_median_of_the_training_part(tmp_path):
    tables = make_predictions()
    metrics = evaluate(tmp_path, tables)
    curves = pd.read_csv(tmp_path / "out/kaplan_meier.csv", dtype={"fold": str})
    expected, labelled = {}, []
    for k, t in enumerate(tables):
        expected[str(k)] = t.loc[t["part"] == "train", "risk"].median()
        test = t[t["part"] == "test"]
        labelled.append(test.assign(fold=k, high=test["risk"] > expected[str(k)]))
    found = curves[curves["fold"] != "pooled"].groupby("fold")["threshold"].first()
    assert found.to_dict() == pytest.approx(expected)

    people = pd.concat(labelled)
    test = logrank(people["time"], people["event"], people["high"], people["fold"])
    assert metrics.loc[("logrank_p", "pooled"), "value"] == pytest.approx(test.p_value, rel=1e-8)
    assert 0 < metrics.loc[("logrank_permutation_p", "pooled"), "value"] < 0.05
    pooled = curves[(curves["fold"] == "pooled") & (curves["group"] == "high")]
    curve = kaplan_meier(*people.loc[people["high"], ["time", "event"]].to_numpy().T)
    np.testing.assert_allclose(pooled["survival"], curve.survival, rtol=1e-8)
    np.testing.assert_array_equal(pooled["at_risk"], curve.at_risk)


def test_test_risks_do_not_move_the_threshold(tmp_path):
    tables = make_predictions()
    evaluate(tmp_path, tables)
    before = pd.read_csv(tmp_path / "out/kaplan_meier.csv").groupby("fold")["threshold"].first()
    for t in tables:
        t.loc[t["part"] != "train", "risk"] *= -3
    evaluate(tmp_path, tables)
    after = pd.read_csv(tmp_path / "out/kaplan_meier.csv").groupby("fold")["threshold"].first()
    pd.testing.assert_series_equal(before, after)


def test_a_repeat_of_the_same_folds_leaves_the_intervals(tmp_path):
    tables = make_predictions()
    once, twice = (evaluate(tmp_path, tables * repeats) for repeats in (1, 2))
    for metric in ("c_index", "c_index_pair_weighted", "uno_c", "auc_mean", "mae_pseudo"):
        one, two = (found.loc[(metric, "mean"), ["low", "high"]] for found in (once, twice))
        np.testing.assert_allclose(one.astype(float), two.astype(float), rtol=1e-8)


def test_repeated_folds_show_every_patient_once(tmp_path):
    tables = make_predictions() + make_predictions(seed=0)
    metrics = evaluate(tmp_path, tables)
    assert metrics.loc[("logrank_p", "pooled"), "n"] == 80
    assert metrics.loc[("c_index", "mean"), "n"] == 80
    assert len(metrics.loc["c_index"]) == 7
    curves = pd.read_csv(tmp_path / "out/kaplan_meier.csv")
    start = curves[(curves["fold"] == "pooled") & (curves["time"] == 0)]
    assert start["at_risk"].sum() == 80


# What goes wrong ---------------------------------------------------------------------------------


def test_a_constant_prediction_is_named(tmp_path):
    tables = [t.assign(risk=3.25) for t in make_predictions()]
    metrics = evaluate(tmp_path, tables)
    assert (metrics.loc["c_index", "value"] == 0.5).all()
    assert metrics.loc["c_index", "reason"].str.contains("collapsed").all()
    assert "fold 1: collapsed" in metrics.loc[("c_index", "mean"), "reason"]
    assert "an empty group" in metrics.loc[("logrank_p", "pooled"), "reason"]


def test_a_fold_without_events_leaves_the_mean_undefined(tmp_path):
    tables = make_predictions()
    tables[1].loc[tables[1]["part"] == "test", "event"] = 0
    metrics = evaluate(tmp_path, tables)
    assert np.isnan(metrics.loc[("c_index", "1"), "value"])
    assert metrics.loc[("c_index", "1"), "reason"] == "no events"
    mean = metrics.loc[("c_index", "mean")]
    assert np.isnan(mean["value"])
    assert mean["reason"] == "fold 1: no events"
    assert np.isfinite(metrics.loc[("c_index_pair_weighted", "mean"), "value"])


def test_an_interval_of_few_events_is_withheld(tmp_path):
    tables = make_predictions()
    test = tables[0].index[tables[0]["part"] == "test"]
    first = tables[0].loc[test, "time"].idxmin()
    tables[0].loc[test, "event"] = (test == first).astype(int)
    row = evaluate(tmp_path, tables).loc[("c_index", "0")]
    assert np.isfinite(row["value"])
    assert np.isnan(row["low"])
    assert "withheld" in row["reason"]


def test_a_diverged_fold_is_undefined_and_left_out_of_the_groups(tmp_path):
    tables = make_predictions()
    tables[2]["risk"] = np.nan
    metrics = evaluate(tmp_path, tables)
    assert "26 of 26 risks are not finite" in metrics.loc[("c_index", "mean"), "reason"]
    row = metrics.loc[("logrank_p", "pooled")]
    assert row["n"] == 54
    assert "without fold 2" in row["reason"]


def test_all_folds_diverged_still_gives_every_file(tmp_path):
    tables = [t.assign(risk=np.nan) for t in make_predictions()]
    metrics = evaluate(tmp_path, tables)
    assert np.isnan(metrics.loc[("logrank_p", "pooled"), "value"])
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_a_fold_without_test_patients_is_undefined(tmp_path):
    tables = make_predictions()
    tables[0] = tables[0][tables[0]["part"] != "test"]
    metrics = evaluate(tmp_path, tables)
    assert metrics.loc[("c_index", "0"), "reason"] == "no test patients"


def test_wrong_predictions_are_told_together(tmp_path):
    tables = make_predictions()
    tables[0].loc[3, "event"] = 2
    tables[1].loc[4, "time"] = -1
    tables[2].loc[6, "patient_id"] = "005"
    with pytest.raises(PredictionError) as error:
        evaluate(tmp_path, tables)
    assert len(error.value.problems) == 3
    assert "event is 2 for patient 003" in str(error.value)
    assert "time is -1.0 for patient 004" in str(error.value)
    assert "patient 005 is in it more than once" in str(error.value)


def test_missing_columns_are_named(tmp_path):
    with pytest.raises(PredictionError, match="no column risk"):
        evaluate(tmp_path, [make_predictions()[0].drop(columns="risk")])
    with pytest.raises(InputError, match="no column chosen"):
        evaluate(tmp_path, make_predictions(), [make_history().drop(columns="chosen")] * 3)


# Figures -----------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    contents = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        evaluate(tmp_path / run, make_predictions(), [make_history(adversarial=True)] * 3)
        files = sorted((tmp_path / run / "out").iterdir())
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    svg = contents[0]["kaplan_meier.svg"].decode()
    assert "<dc:date>" not in svg
    assert str(tmp_path) not in "".join(c.decode() for c in contents[0].values())


def test_the_curve_says_what_it_shows(tmp_path):
    tables = make_predictions()
    evaluate(tmp_path, tables, unit="days")
    svg = (tmp_path / "out/kaplan_meier.svg").read_text()
    for words in ("abmil-cox", "Time (days)", "Number at risk", "high risk: n = ", "log-rank p"):
        assert words in svg


def test_training_curves_of_every_fold(tmp_path):
    evaluate(tmp_path, make_predictions(folds=7))
    table = pd.read_csv(tmp_path / "out/training_curves.csv")
    assert table.columns[0] == "fold"
    assert table.groupby("fold")["chosen"].sum().tolist() == [1] * 7
    svg = (tmp_path / "out/training_curves.svg").read_text()
    assert "<!-- fold 6 -->" in svg
    assert "<!-- chosen epoch -->" in svg
    assert "discriminator" not in svg
    evaluate(tmp_path, make_predictions(), [make_history(adversarial=True)] * 3)
    assert "discriminator" in (tmp_path / "out/training_curves.svg").read_text()


def test_one_fold_and_one_epoch(tmp_path):
    metrics = evaluate(tmp_path, make_predictions(folds=3)[:1], [make_history(epochs=1)])
    assert np.isnan(metrics.loc[("c_index", "mean"), "sd_over_folds"])
    assert metrics.loc[("c_index", "mean"), "value"] == metrics.loc[("c_index", "0"), "value"]


def test_attention_collapses_where_most_bags_are_even():
    assert evenness(np.full(7, 1 / 7)) == pytest.approx(1)
    assert evenness(np.array([0.5, 0.5, 0, 0])) == pytest.approx(0.5)
    assert evenness(np.array([0.0, 1.0])) == 0
    assert np.isnan(evenness(np.array([1.0])))
    assert collapse_alarms([1.0, 0.995, 0.9, np.nan])[0].startswith(
        "the attention is the same everywhere in 67% of the bags"
    )
    for fine in ([1.0, 0.98], [np.nan], []):
        assert collapse_alarms(fine) == []
