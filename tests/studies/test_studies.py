"""The studies run, shrunk, and their references are right; what they found is in studies/tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from scipy.stats import norm, wasserstein_distance

from studies import (
    algorithmic_unit_tests,
    known_distribution,
    known_times,
    legacy_ablation,
    simulated_brca,
    simulated_tissue,
)
from studies.unit_test_training import unit_test

ROOT = Path(__file__).parents[2]
SHORT = {"epochs": 2, "patience": 2, "warmup": 0, "window": 32, "learning_rate": 1e-3}


def test_the_simulation_of_known_times_runs(tmp_path):
    arms = [
        replace(arm, training={})
        for arm in known_distribution.ARMS
        if arm.censored or arm.name in known_distribution.DRAWN
    ]
    out = tmp_path / "table.csv", tmp_path / "figure.svg"
    parts = {"train": 32, "validation": 8, "test": 8}
    known_distribution.run(tmp_path / "work", *out, [1], SHORT, parts, arms)
    first = [path.read_bytes() for path in out]
    table = pd.read_csv(out[0])
    assert set(table["times"]) == {"all seen", "censored"}
    assert set(arm.name for arm in arms) < set(table["what"])
    assert (table["w1"] >= 0).all()
    for kept in ("the table", "the trainings"):
        if kept == "the trainings":
            out[0].unlink()
        known_distribution.run(tmp_path / "work", *out, [1], SHORT, parts, arms)
        assert [path.read_bytes() for path in out] == first, kept


def test_true_quantiles_are_those_of_the_peaks():
    for name, peaks in known_times.PEAKS.items():
        times = known_times.true_quantiles(name)
        below = np.mean([norm.cdf(times, *peak) for peak in peaks], axis=0)
        np.testing.assert_allclose(below, known_times.QUANTILES, atol=1e-5)
        drawn = known_times.draw(name, 100_000, np.random.default_rng(0))
        assert wasserstein_distance(drawn, times) < 0.3


def test_no_shift_of_one_shape_is_nearer_than_the_best():
    """Found by another optimiser's grid: places and spread around the best make it no better."""
    best = known_times.best_shift(100.0)
    truth = [known_times.true_quantiles(name) for name in known_times.GROUPS]
    reached = np.mean([np.abs(best[n][0] - t).mean() for n, t in zip(best, truth, strict=True)])
    z = norm.ppf(known_times.QUANTILES)
    places = [
        np.log(np.expm1(np.arange(low, high, 1.0) / 100)) for low, high in ((25, 35), (45, 70))
    ]
    grid = min(
        np.mean(
            [
                min(
                    np.abs(100 * np.logaddexp(0, place + spread * z) - t).mean() for place in around
                )
                for around, t in zip(places, truth, strict=True)
            ]
        )
        for spread in np.arange(0.05, 1.0, 0.05)
    )
    assert reached <= grid < reached + 0.1


def test_no_distribution_has_a_less_score_than_the_least():
    random = np.random.default_rng(0)
    failed, follow_up = random.exponential(1, 300), random.uniform(0, 3, 300)
    time, event = np.minimum(failed, follow_up), (failed <= follow_up).astype(int)
    grid = np.linspace(0, 3, 3001)

    def score(times):
        below = (times[:, None] <= grid).mean(0)
        known = (time[:, None] > grid) | (event[:, None] == 1)
        return np.where(known, (below - (time[:, None] <= grid)) ** 2, 0).mean()

    least = known_times.least_score(time, event)
    assert score(least) < min(score(failed), score(time[event == 1]))
    assert score(least) < min(score(least * scale) for scale in (0.9, 0.97, 1.03, 1.1))
    assert np.median(least) < np.median(failed)  # too early: the score is not proper here
    np.testing.assert_allclose(
        known_times.least_score(failed, np.ones(300, int)),
        np.sort(failed)[(known_times.QUANTILES * 300).astype(int)],
    )


def test_corner_views_cover_what_the_original_covers():
    views = simulated_tissue.corner_views()
    np.testing.assert_allclose(views.sum(1), 1)
    seen = views.any(0).reshape(4, 4)
    assert seen[:2, :2].all()
    assert seen.sum() == 4
    # 1792 of 4096 pixels along each side: three quarters of a step behind the last view's start.
    covered = (1 + 3 * simulated_tissue.STEP) ** 2 / 16
    assert covered == pytest.approx((1792 / 4096) ** 2)


def _write_tables(folder):
    """Write a table and one fold in AdvMIL's layout: 48 patients to train on, 16 and 16 others."""
    random = np.random.default_rng(0)
    ids = np.array([f"A{i:02d}" for i in range(80)])
    (folder / "table").mkdir(parents=True)
    (folder / "data_split").mkdir()
    columns = {"pathology_id": ids, "patient_id": ids, "e": np.arange(80) % 3 // 2}
    columns["t"] = random.exponential(1000, 80).round() + 1
    pd.DataFrame(columns).to_csv(folder / "table/tcga_brca_path_full.csv", index=False)
    parts = dict(zip(("train", "val", "test"), np.split(ids, [48, 64]), strict=True))
    fold = {f"{part}_patients": names for part, names in parts.items()}
    np.savez(folder / "data_split/tcga_brca-fold0.npz", **fold)


def test_the_ablation_runs(tmp_path):
    _write_tables(tmp_path / "tables")
    out = tmp_path / "table.csv", tmp_path / "figure.svg"
    names = ["discriminator loss", "the four together", "empty clusters", "patch offsets"]
    pairs = {name: legacy_ablation.PAIRS[name] for name in names}
    legacy_ablation.run(tmp_path / "tables", tmp_path / "work", *out, [1], SHORT, 50, pairs)
    table = pd.read_csv(out[0])
    assert list(table.loc[table["metric"] == "C-index", "switch"]) == names
    assert ((table["low"] <= table["high"]) & table["seed_1"].notna()).all()
    np.testing.assert_allclose(
        table["difference"], table["corrected"] - table["legacy"], atol=2e-5, rtol=1e-6
    )
    assert set(table.loc[table["switch"] == "the four together", "metric"]) == {
        "C-index",
        "hinge error, days",
        "integrated Brier score",
    }
    assert out[1].stat().st_size > 0


def test_follow_up_is_that_of_the_table():
    """Whoever was censored keeps the time; all together follow the reverse Kaplan-Meier curve."""
    random = np.random.default_rng(0)
    time = random.exponential(1, 4000)
    event = (random.exponential(2, 4000) > time).astype(int) ^ 1
    found = simulated_brca.follow_up(time, event, random)
    assert (found[event == 0] == time[event == 0]).all()
    assert (found >= time).all()
    curve = KaplanMeierFitter().fit(time, 1 - event)
    at = np.quantile(time, [0.2, 0.5, 0.8])
    np.testing.assert_allclose((found[:, None] > at).mean(0), curve.predict(at), atol=0.02)


def test_the_page_shows_the_tables():
    page = (ROOT / "docs/adversarial.md").read_text()
    found = pd.read_csv(ROOT / "studies/tables/known_distribution.csv")
    shown = [known_distribution.describe(found, times) for times in ("all seen", "censored")]
    shown.append(legacy_ablation.describe(pd.read_csv(ROOT / "studies/tables/legacy_ablation.csv")))
    missing = [line for table in shown for line in table.splitlines() if line not in page]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("model", "name", "learning_rate"),
    [
        ("monotone", "single concept", 3e-3),
        ("monotone", "multi concept", 3e-3),
        ("monotone", "false frequency", 3e-3),
        ("instance_max", "single concept", 1e-2),
    ],
)
def test_models_that_respect_the_assumption_pass(model, name, learning_rate):
    small = {"train": 600, "test": 300, "learning_rate": learning_rate}
    for auc in unit_test(model, name, 0, **small):
        assert auc >= algorithmic_unit_tests.PASS


def test_a_model_that_takes_the_cue_is_found_out():
    train, test = unit_test("max", "single concept", 0, train=300, test=200)
    assert train > 0.99
    assert test < 0.01


def test_tables_of_unit_tests_grow_model_by_model(tmp_path):
    study, path = algorithmic_unit_tests, tmp_path / "table.csv"
    rows = {
        "mean": [
            ("single concept", 1.0, 0.0),
            ("multi concept", 1.0, 0.5),
            ("false frequency", 0.95, 0.93),
        ],
        "esat": [(name, np.nan, np.nan) for name in study.SETS],
    }
    for model, found in rows.items():
        table = [(model, *row[:1], 0, *row[1:], "" if model == "mean" else "why") for row in found]
        study.add(pd.DataFrame(table, columns=study.COLUMNS), path)
    first = path.read_bytes()
    study.add(pd.DataFrame(table, columns=study.COLUMNS), path)
    assert path.read_bytes() == first
    assert study.describe(pd.read_csv(path)).splitlines()[2:] == [
        "| `esat` | cannot read these bags | | | |",
        "| `mean` | 1.00 / 0.00 | 1.00 / 0.50 | **0.95 / 0.93** | yes |",
    ]


def test_the_page_shows_the_table():
    table = pd.read_csv(algorithmic_unit_tests.TABLE)
    page = (ROOT / "docs/algorithmic-unit-tests.md").read_text()
    assert algorithmic_unit_tests.describe(table) in page


def test_bags_that_a_model_cannot_read_are_told():
    rows = list(algorithmic_unit_tests.judged("esat", [0]))
    assert [row[1] for row in rows] == list(algorithmic_unit_tests.SETS)
    assert all("no multiple of 16" in row[-1] for row in rows)
