"""Make the simulated cohort, or check a run's results against its truth.

``python -m demo FOLDER`` makes it; ``python -m demo check RESULTS`` checks a run, and
``python -m demo null RESULTS`` one on permuted labels.
"""

import argparse
import sys
from pathlib import Path


def _make(arguments: list[str]) -> int:
    from demo.plan import PATIENTS, SEED, SIDE

    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Make a simulated cohort of H&E-like slides with known survival. "
        "`python -m demo check RESULTS` compares a run's results with its truth.",
    )
    parser.add_argument("folder", help="takes the slides and the tables, e.g. data/demo")
    parser.add_argument("--patients", type=int, default=PATIENTS, help="default: %(default)s")
    parser.add_argument(
        "--side",
        type=int,
        default=SIDE,
        help="longest side of a slide in pixels; 2048 makes tiny slides (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=None, help="processes (default: all cores)")
    parser.add_argument(
        "--no-bad-slides", action="store_true", help="only good slides, and every follow-up known"
    )
    wanted = parser.parse_args(arguments)

    from demo.cohort import make_cohort

    try:
        cohort = make_cohort(
            wanted.folder,
            patients=wanted.patients,
            side=wanted.side,
            seed=wanted.seed,
            bad_slides=not wanted.no_bad_slides,
            jobs=wanted.jobs,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except ValueError as error:
        parser.error(str(error))
    print(
        f"{cohort.folder.as_posix()}: {cohort.patients} simulated patients, {cohort.slides} slides "
        f"({cohort.made} made now), {cohort.events} events; "
        f"C-index of the true hazard {cohort.ceiling:.3f}"
    )
    return 0


def _check(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo check",
        description="Compare a run's results with the truth of the simulated cohort. Exit code 1: "
        "the best experiment's C-index is below 0.70, or its attention finds the planted pattern "
        "no better than chance.",
    )
    parser.add_argument("results", type=Path, help="folder of results, e.g. results/demo")
    parser.add_argument("--demo", type=Path, default=Path("data/demo"), help="the cohort's folder")
    wanted = parser.parse_args(arguments)

    from demo.truth import check_results

    try:
        findings = check_results(wanted.results, wanted.demo)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(findings.text())
    return 0 if findings.passed else 1


def _null(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo null",
        description="Hold a run on permuted labels against chance. Exit code 1: an experiment's "
        "mean test C-index is not between 0.35 and 0.65.",
    )
    parser.add_argument("results", type=Path, help="folder of results, e.g. results/demo")

    from demo.null import check_null

    try:
        text, passed = check_null(parser.parse_args(arguments).results)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(text)
    return 0 if passed else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["null"]:
        sys.exit(_null(sys.argv[2:]))
    if sys.argv[1:2] == ["check"]:
        sys.exit(_check(sys.argv[2:]))
    sys.exit(_make(sys.argv[1:]))
