"""Compare a run's results with what is known of the simulated cohort.

The C-index is computed again from the predictions, so that the check does not lean on the
evaluation it is there to check. Attention is compared with the planted pattern patch by patch.
"""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import rankdata

from demo.cohort import PATTERN
from demo.survival import concordance
from mil.seeds import seed_for
from mil.slide_scores import read_slide_scores, scored_slides
from wsi.storage import read_features, write_json

LOWEST_C = 0.70
LARGEST_P = 0.05
DRAWS = 1000
TOP = 0.25  # share of a slide's patches that counts as high attention


@dataclass(frozen=True)
class SlideOverlap:
    """Attention and truth on one slide, arrays over its patches.

    Attributes
    ----------
    attention : [N].
    contribution : [N], to the risk, or None for a model without.
    pattern, tissue : [N], share of each patch's area.
    """

    attention: NDArray[np.float64]
    contribution: NDArray[np.float64] | None
    pattern: NDArray[np.float64]
    tissue: NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """What the check found.

    Attributes
    ----------
    experiment : the one with the highest mean test C-index.
    c_index, ceiling : means over folds, of the experiment and of the true hazard.
    experiments : mean test C-index of each.
    slides : number of slides with patches of both kinds, the base of the next two.
    attention_auroc : mean over slides; None if no slide has both kinds.
    contribution_auroc : likewise, of the contributions to the risk; None where the model has none.
    p_value : share of shuffles within slides that reach this mean.
    top_pattern, base_pattern : share of tissue that is pattern where attention is high, and
        over all patches; means over slides.
    """

    experiment: str
    c_index: float
    ceiling: float
    experiments: dict[str, float]
    slides: int
    attention_auroc: float | None
    contribution_auroc: float | None
    p_value: float | None
    top_pattern: float | None
    base_pattern: float | None

    @property
    def passed(self) -> bool:
        """Whether risk is predicted and attention finds the pattern better than chance."""
        found = self.p_value is not None and self.p_value < LARGEST_P
        return self.c_index >= LOWEST_C and found

    def text(self) -> str:
        """Return the block that the terminal shows."""
        lines = [
            "Simulated cohort: results against the truth",
            f"  best experiment    {self.experiment}",
            f"  test C-index       {self.c_index:.3f}, mean over folds (wanted: at least "
            f"{LOWEST_C:.2f}; the true hazard reaches {self.ceiling:.3f})",
        ]
        if self.attention_auroc is None:
            lines.append("  attention          no slide has patches with and without the pattern")
        else:
            lines += [
                f"  attention AUROC    {self.attention_auroc:.3f} for patches that are mostly "
                f"pattern, mean over {self.slides} slides (chance 0.500, p = {self.p_value:.3g})",
                *self._of_contributions(),
                f"  high attention     {self.top_pattern:.0%} of the tissue in the top quarter is "
                f"pattern, {self.base_pattern:.0%} of all tissue",
            ]
        return "\n".join([*lines, f"  {'passed' if self.passed else 'NOT PASSED'}"])

    def _of_contributions(self) -> list[str]:
        if self.contribution_auroc is None:
            return []
        return [f"  contribution AUROC {self.contribution_auroc:.3f} for the same patches"]


def check_results(results: Path, demo: Path) -> Findings:
    """Compare results with the truth, and write ``evaluation/truth.json`` among the results.

    Parameters
    ----------
    results : folder with models/ and features/.
    demo : the cohort's folder, with truth.csv and truth/.

    Raises
    ------
    FileNotFoundError : with a sentence, where predictions or truth are missing.
    """
    hazard = _read_hazard(demo / "truth.csv")
    scores, ceilings = {}, {}
    for name in _compared(results / "evaluation" / "comparison.csv"):
        files = sorted((results / "models" / name).glob("fold*/predictions.csv"))
        if not files:
            raise FileNotFoundError(
                f"{results}: no models/{name}/fold*/predictions.csv; run the workflow first."
            )
        pairs = np.array([_score_fold(file, hazard) for file in files])  # [folds, 2]
        scores[name], ceilings[name] = np.mean(pairs, axis=0).tolist()
    best = max(scores, key=lambda name: scores[name])
    overlaps = _read_overlaps(results, best, demo / "truth")
    findings = Findings(best, scores[best], ceilings[best], scores, **_compare_attention(overlaps))
    write_json(
        results / "evaluation" / "truth.json", asdict(findings) | {"passed": findings.passed}
    )
    return findings


def _compared(path: Path) -> list[str]:
    """Return the experiments of this run; others, on permuted labels, may lie beside them.

    A row of several seeds is the mean of others.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; run the workflow before the check.")
    with open(path, newline="") as file:
        return sorted(row["experiment"] for row in csv.DictReader(file) if row["seeds"] == "1")


def _read_hazard(path: Path) -> dict[str, float]:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: missing; make the cohort with python -m demo {path.parent}, or name its "
            "folder with --demo."
        )
    with open(path, newline="") as file:
        return {row["patient_id"]: float(row["hazard"]) for row in csv.DictReader(file)}


def _score_fold(path: Path, hazard: dict[str, float]) -> tuple[float, float]:
    """Return the C-index of the predicted risk and of the true hazard on a fold's test patients."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "test"]
    strangers = sorted({row["patient_id"] for row in rows} - hazard.keys())
    if strangers:
        raise ValueError(
            f"{path}: patient {strangers[0]} is not in the simulated cohort's truth.csv; "
            "name the cohort these results were made of with --demo."
        )
    time, event, risk = (
        np.array([float(row[name]) for row in rows]) for name in ("time", "event", "risk")
    )
    truth = np.array([hazard[row["patient_id"]] for row in rows])
    return concordance(time, event, risk), concordance(time, event, truth)


def _read_overlaps(results: Path, experiment: str, masks: Path) -> list[SlideOverlap]:
    """Return scores beside truth for every test slide of every fold."""
    overlaps = []
    for path in sorted((results / "models" / experiment).glob("fold*/attention.npz")):
        features = results / "features" / _encoder(results, path.parent / "config.yaml")
        for slide in sorted(scored_slides(path)):
            scores = read_slide_scores([path], slide)
            _, coords, attributes = read_features(features / f"{slide}.h5")
            mask = cv2.imread(str(masks / f"{slide}.png"), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                raise FileNotFoundError(f"{masks / slide}.png: missing; make the cohort again.")
            factor = float(attributes["width0"]) / mask.shape[1]
            side = float(attributes["footprint0"])
            pattern = patch_shares(mask == PATTERN, coords / factor, side / factor)
            tissue = patch_shares(mask > 0, coords / factor, side / factor)
            attention = scores.attention.astype(np.float64)
            added = None if scores.contribution is None else scores.contribution[:, 0]
            overlaps.append(SlideOverlap(attention, added, pattern, tissue))
    return overlaps


def _encoder(results: Path, config: Path) -> str:
    """Return the encoder of a model: its configuration says so, or there is only one."""
    said = (yaml.safe_load(config.read_text()) or {}) if config.exists() else {}
    folders = sorted(path.name for path in (results / "features").glob("*") if path.is_dir())
    encoder = said.get("experiment", {}).get("encoder")
    if encoder in folders:
        return encoder
    if len(folders) != 1:
        raise FileNotFoundError(
            f"{config}: names no encoder, and {results / 'features'} holds {len(folders)} of them."
        )
    return folders[0]


def patch_shares(
    mask: NDArray[np.bool_], corners: NDArray[np.float64], side: float
) -> NDArray[np.float64]:
    """Return the share of each square patch that the mask covers; outside the slide is nothing.

    Parameters
    ----------
    mask : bool [H, W].
    corners : [N, 2], x and y of the top-left corners in mask pixels.
    side : of a patch, in mask pixels.
    """
    total = cv2.integral(mask.astype(np.uint8))  # [H + 1, W + 1]
    low = np.rint(corners).astype(int)
    high = np.rint(corners + side).astype(int)
    limit = np.array(mask.shape[::-1])
    (x0, y0), (x1, y1) = np.clip(low, 0, limit).T, np.clip(high, 0, limit).T
    covered = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return covered / np.prod(high - low, axis=1)


def _compare_attention(overlaps: list[SlideOverlap]) -> dict[str, float | int | None]:
    """Return the fields of :class:`Findings` that tell whether attention finds the pattern."""
    both = [o for o in overlaps if 0 < (o.pattern > 0.5).sum() < len(o.pattern)]
    if not both:
        names = ("attention_auroc", "contribution_auroc", "p_value", "top_pattern", "base_pattern")
        return {"slides": 0, **dict.fromkeys(names)}
    rng = np.random.default_rng(seed_for(0, "truth", "shuffle"))
    observed, shuffled = [], []
    for overlap in both:
        label = overlap.pattern > 0.5
        ranks = rankdata(overlap.attention)
        observed.append(_auroc(ranks[None], label)[0])
        shuffled.append(_auroc(rng.permuted(np.tile(ranks, (DRAWS, 1)), axis=1), label))
    reached = (np.mean(shuffled, axis=0) >= np.mean(observed)).sum()
    top, base = np.mean([_shares(overlap) for overlap in both], axis=0)
    return {
        "slides": len(both),
        "attention_auroc": float(np.mean(observed)),
        "contribution_auroc": _contribution_auroc(both),
        "p_value": float((1 + reached) / (1 + DRAWS)),
        "top_pattern": float(top),
        "base_pattern": float(base),
    }


def _contribution_auroc(overlaps: list[SlideOverlap]) -> float | None:
    if any(overlap.contribution is None for overlap in overlaps):
        return None
    each = [_auroc(rankdata(o.contribution)[None], o.pattern > 0.5)[0] for o in overlaps]
    return float(np.mean(each))


def _auroc(ranks: NDArray[np.float64], label: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the area under the ROC curve for each row of ranks [draws, N] (Mann and Whitney)."""
    positive, negative = label.sum(), (~label).sum()
    return (ranks[:, label].sum(axis=1) - positive * (positive + 1) / 2) / (positive * negative)


def _shares(overlap: SlideOverlap) -> tuple[float, float]:
    """Return the pattern's share of tissue in the top quarter by attention, and in all patches."""
    count = max(1, round(TOP * len(overlap.attention)))
    top = np.argsort(-overlap.attention, kind="stable")[:count]
    base = overlap.pattern.sum() / overlap.tissue.sum()
    tissue = overlap.tissue[top].sum()
    return (overlap.pattern[top].sum() / tissue if tissue > 0 else 0.0), base
