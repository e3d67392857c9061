"""The table at the end of a run, and the files behind it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mil.comparison import compare_experiments
from mil.fold_metrics import MetricRow, write_metrics
from mil.fold_predictions import PredictionError, read_predictions
from mil.rank_metrics import concordance_rows, uno_rows
from mil.survival.metrics import harrell_c

ROOT = Path(__file__).resolve().parents[2]


def make_experiment(strength, folds=4, n=100, seed=1, left_out=()):
    """Return a prediction table a fold; the cohort is the same whatever the strength and seed."""
    cohort = np.random.default_rng(0)
    x = cohort.normal(size=n)
    death, censoring = cohort.exponential(20 * np.exp(-x)), cohort.uniform(5, 60, n)
    rng = np.random.default_rng(seed)
    tables = []
    for k in range(folds):
        table = pd.DataFrame(
            {
                "patient_id": [f"P{i:03d}" for i in range(n)],
                "part": np.where(np.arange(n) % folds == k, "test", "train"),
                "time": np.minimum(death, censoring) + 0.1,
                "event": (death <= censoring).astype(int),
                "risk": (k + 1) * (strength * x + rng.normal(size=n)) + 10 * k,
                "predicted_time": np.nan,
                "time_flag": "",
            }
        )
        tables.append(table[~table["patient_id"].isin(left_out)])
    return tables


def compare(folder, experiments, **options):
    """Measure and compare experiments; return the table, and the text."""
    names = list(experiments)
    predictions, metrics = {}, []
    for name, tables in experiments.items():
        own = folder / name
        own.mkdir(parents=True, exist_ok=True)
        paths = [own / f"predictions{k}.csv" for k in range(len(tables))]
        for path, table in zip(paths, tables, strict=True):
            table.to_csv(path, index=False)
        predictions[name] = paths
        metrics.append(own / "metrics.csv")
        folds = read_predictions(paths)
        rows = concordance_rows(folds, 200, seed=3) + uno_rows(folds, 20, seed=3)
        if name == "strong":  # the one with probabilities
            rows += [MetricRow("ibs_scaled", "mean", 0.2345)]
            rows += [MetricRow("d_calibration_p", "pooled", 0.0004)]
        write_metrics(metrics[-1], rows)
    out = {
        "comparison": folder / "comparison.csv",
        "text": folder / "comparison.txt",
        "forest": folder / "forest.svg",
    }
    settings = {"bootstrap": 200, "seed": 3, **options}
    compare_experiments(names=names, predictions=predictions, metrics=metrics, **out, **settings)
    table = pd.read_csv(out["comparison"], keep_default_na=False)
    numbers = [c for c in table if c not in ("experiment", "reason")]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table.set_index("experiment"), out["text"].read_text()


def mean_c(tables):
    parts = [t[t["part"] == "test"] for t in tables]
    return np.mean([harrell_c(t["time"], t["event"], t["risk"]).value for t in parts])


@pytest.fixture
def three():
    return {
        "weak": make_experiment(0.2, seed=1),
        "strong": make_experiment(3, seed=2),
        "middle": make_experiment(0.8, seed=3),
    }


def test_the_best_comes_first(tmp_path, three):
    table, _ = compare(tmp_path, three)
    assert table.index.tolist() == ["strong", "middle", "weak"]
    for name, row in table.iterrows():
        assert row["c_index"] == pytest.approx(mean_c(three[name]), abs=1e-8)
        assert row["low"] < row["c_index"] < row["high"]
        expected = mean_c(three[name]) - mean_c(three["strong"])
        assert row["difference"] == pytest.approx(expected, abs=1e-8)
    assert (table["n"] == 100).all()
    assert (table["folds"] == 4).all()
    assert table.loc["weak", "difference_high"] < 0  # the weak one is surely worse


def test_equal_experiments_are_ordered_by_name(tmp_path):
    same = make_experiment(1)
    table, _ = compare(tmp_path, {"b": same, "c": same, "a": same})
    assert table.index.tolist() == ["a", "b", "c"]


def test_differences_are_paired(tmp_path):
    one = make_experiment(1)
    other = [t.assign(risk=np.exp(t["risk"] / 50) + 7) for t in one]  # the same order of patients
    shuffled = [t.sample(frac=1, random_state=4) for t in one]
    table, _ = compare(tmp_path, {"a": one, "b": other, "c": shuffled})
    assert table["high"].sub(table["low"]).gt(0.05).all()
    for name in ("b", "c"):
        row = table.loc[name, ["difference", "difference_low", "difference_high"]]
        np.testing.assert_allclose(row.astype(float), 0, atol=1e-12)


def test_a_repeat_of_the_same_folds_leaves_the_interval_of_the_difference(tmp_path):
    one, other = make_experiment(1.5), make_experiment(0.5, seed=2)
    once, twice = (
        compare(tmp_path, {"a": one * repeats, "b": other * repeats})[0] for repeats in (1, 2)
    )
    columns = ["low", "high", "difference_low", "difference_high"]
    np.testing.assert_allclose(
        once.loc["b", columns].astype(float), twice.loc["b", columns].astype(float)
    )


def test_only_shared_patients_are_compared(tmp_path):
    one, other = make_experiment(1.5), make_experiment(0.5, seed=2, left_out=["P003", "P010"])
    table, text = compare(tmp_path, {"full": one, "part": other})
    assert table.loc["part", ["n", "shared"]].tolist() == [98, 98]
    assert table.loc["full", "n"] == 100
    kept = [t[~t["patient_id"].isin(["P003", "P010"])] for t in one]
    expected = mean_c(other) - mean_c(kept)
    assert table.loc["part", "difference"] == pytest.approx(expected, abs=1e-8)
    assert "part: compared on the 98 patients that both experiments have." in text
    assert " 98 " in text
    assert "events differ between experiments" in text


def test_the_text_says_what_it_shows(tmp_path, three):
    table, text = compare(tmp_path, three)
    lines = text.splitlines()
    events = int(table["events"].iloc[0])
    assert lines[0] == f"3 experiments: n = 100 patients, {events} events, 4 folds"
    assert "95 % interval: percentiles of 200 bootstrap draws of patients inside each fold" in (
        " ".join(line.strip() for line in lines)
    )
    rows = [line for line in lines if line.startswith(("weak", "middle", "strong"))]
    assert [row.split()[0] for row in rows[:3]] == ["strong", "middle", "weak"]
    best = table.loc["strong"]
    cells = f"{best['c_index']:.3f}  [{best['low']:.3f}, {best['high']:.3f}]"
    assert cells in rows[0]
    assert rows[0].endswith("best")
    assert len({len(row) for row in rows[:3]}) == 1  # aligned
    assert rows[3].split()[1:] == [f"{best['uno_c']:.3f}", "0.234", "<", "0.001"]
    assert rows[4].split()[2:] == ["-", "-"]


def test_no_line_is_wider_than_a_hundred_columns(tmp_path):
    long = "patchgcn-" + "with-a-very-long-name-" * 5 + "x"
    experiments = {long: make_experiment(1), "short": make_experiment(0.5, seed=5)}
    experiments["a-name-of-25-characters-x"] = make_experiment(0.1, seed=6, left_out=["P001"])
    _, text = compare(tmp_path, experiments)
    assert max(map(len, text.splitlines())) <= 100
    assert long[:100] in text


def test_one_experiment_is_compared_with_nothing(tmp_path):
    table, text = compare(tmp_path, {"alone": make_experiment(1)})
    assert text.startswith("1 experiment: ")
    assert "best" not in text
    assert np.isfinite(table.loc["alone", "c_index"])


def test_what_went_wrong_is_told(tmp_path):
    collapsed = [t.assign(risk=1.0) for t in make_experiment(1)]
    diverged = [t.assign(risk=np.nan) for t in make_experiment(1)]
    experiments = {"diverged": diverged, "collapsed": collapsed, "good": make_experiment(2)}
    table, text = compare(tmp_path, experiments)
    assert table.index.tolist() == ["good", "collapsed", "diverged"]  # undefined is last
    assert "collapsed: fold 0: collapsed: every test patient has the same risk" in text
    assert "25 of 25 risks are not finite" in text
    assert table.loc["collapsed", "c_index"] == 0.5
    assert np.isnan(table.loc["diverged", "difference"])


def test_all_undefined(tmp_path):
    diverged = [t.assign(risk=np.nan) for t in make_experiment(1)]
    table, text = compare(tmp_path, {"b": diverged, "a": diverged})
    assert table.index.tolist() == ["a", "b"]
    assert table["c_index"].isna().all()
    assert "nan" not in text


def test_experiments_on_other_folds_are_refused(tmp_path):
    with pytest.raises(PredictionError, match="b has 5 folds and a has 4"):
        compare(tmp_path, {"a": make_experiment(1), "b": make_experiment(1, folds=5)})


def test_permuted_labels_have_a_row_but_no_difference(tmp_path):
    experiments = {"a": make_experiment(2)}
    for name, seed in (("b", 5), ("c", 6)):
        order = np.random.default_rng(seed).permutation(100)
        experiments[name] = [
            t.assign(time=t["time"].to_numpy()[order], event=t["event"].to_numpy()[order])
            for t in make_experiment(2)
        ]
    table, text = compare(tmp_path, experiments)
    assert table["c_index"].notna().all()
    assert table["difference"].isna().tolist() == [False, True, True]
    first, second = table.index[1:]
    assert f"{first}, {second}: no difference, other labels than in the first row." in text


def test_the_same_inputs_give_the_same_bytes(tmp_path, three):
    files = ("comparison.csv", "comparison.txt", "forest.svg")
    contents = []
    for run in ("one", "two"):
        compare(tmp_path / run, three)
        contents.append([(tmp_path / run / file).read_bytes() for file in files])
    assert contents[0] == contents[1]
    forest = contents[0][2].decode()
    assert "<dc:date>" not in forest
    for words in ("strong", "middle", "weak", "mean over folds", "0.5: a coin"):
        assert words in forest


def test_the_stage_runs_by_hand(tmp_path, three):
    compare(tmp_path, three)
    expected = (tmp_path / "comparison.csv").read_bytes()
    names = "[" + ",".join(f'"{name}"' for name in three) + "]"
    paths = {
        name: [str(tmp_path / name / f"predictions{k}.csv") for k in range(4)] for name in three
    }
    metrics = [str(tmp_path / name / "metrics.csv") for name in three]
    arguments = {
        "names": names,
        "predictions": str(paths).replace("'", '"'),
        "metrics": str(metrics).replace("'", '"'),
        "comparison": tmp_path / "again.csv",
        "text": tmp_path / "again.txt",
        "forest": tmp_path / "again.svg",
        "bootstrap": 200,
        "seed": 3,
    }
    command = [f"{key}={value}" for key, value in arguments.items()]
    run = subprocess.run(
        [sys.executable, "-m", "mil", "compare_experiments", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "again.csv").read_bytes() == expected
