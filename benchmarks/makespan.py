"""How long 10,000 slides take on 64 CPU and 8 GPU slots: `python benchmarks/makespan.py`.

A simulation of events, not a run: no job is started. It knows what waits for what (the rules), what
shares a cluster job (the groups of profiles/slurm) and what a job costs beside its work; seconds
are drawn as `seconds_of_slide` says. `benchmarks/scheduling.py` has Snakemake itself do the
choosing, for fewer slides. The bound is work / slots: no slot is ever empty, no job costs more than
its work. Trainings wait for all slides, so both parts are held against their own bound.
"""

import argparse
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

START = 0.5  # of a stage on a node: script, Python, imports, child (benchmarks/job_start.py)
LOAD = 6.0  # of PyTorch and the network, once a job
CLUSTER_JOB = 10.0  # two starts of Snakemake on a node and its reading of the tables
POLL = 40.0  # the SLURM plugin asks so often what has ended; only then the next job is submitted
CORES = 8  # of a cluster job without GPU
PROFILE = Path(__file__).resolve().parents[1] / "profiles/slurm/config.yaml"
GROUPS = yaml.safe_load(PROFILE.read_text())["group-components"]


@dataclass
class Job:
    """Something that takes `amount` of a resource for `seconds` once all of `after` have ended."""

    resource: str
    amount: int
    seconds: float
    work: float
    after: list[int] = field(default_factory=list)


def seconds_of_slide(slides: int, rate: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw seconds of each stage of each slide, on one core or one GPU, imports not counted.

    Fine patches are lognormal with median 8,000 (nine of ten from 3,000 to 21,000); the rest
    follows from them by the figures of benchmarks/README.md: tissue and patches 1.1 s at 8,000
    patches, graphs 0.7 s at 100,000 in space and 10 s at 20,000 among features (quadratic),
    clusters 3.2 s at 20,000. `rate`, patches/s of one GPU, is an assumption: it is not measured.
    """
    random = np.random.default_rng(seed)
    patches = np.clip(random.lognormal(np.log(8000), 0.6, slides), 200, 60_000)
    return {
        "tissue": 0.5 * patches / 8000,
        "patches": 0.6 * patches / 8000,
        "features": patches / rate,
        "graphs": 0.7 * patches / 100_000 + 10 * (patches / 20_000) ** 2,
        "clusters": 3.2 * patches / 20_000,
    }


def on_cluster(stages: dict[str, np.ndarray], trainings: Sequence[float]) -> list[Job]:
    """Return the cluster jobs: slides that follow each other in the table share one."""
    slides, jobs = len(stages["tissue"]), []
    first: dict[str, int] = {}

    def add(name: str, before: str | None, resource: str) -> None:
        size, first[name] = GROUPS[name], len(jobs)
        parts = ("tissue", "patches") if name == "prep" else (name,)
        for start in range(0, slides, size):
            chosen = slice(start, min(start + size, slides))
            work = sum(stages[part][chosen] for part in parts)
            after = []
            if before:
                last = (chosen.stop - 1) // GROUPS[before]
                after = [first[before] + i for i in range(start // GROUPS[before], last + 1)]
            if resource == "gpu":  # the first encodes all; the others move it, side by side
                moves = np.full(len(work) - 1, START)
                seconds, amount = START + LOAD + sum(work) + _side_by_side(moves, CORES), 1
            else:
                seconds, amount = _side_by_side(work + START * len(parts), CORES), CORES
            jobs.append(Job(resource, amount, CLUSTER_JOB + seconds, float(sum(work)), after))

    add("prep", None, "cpu")
    add("features", "prep", "gpu")
    add("graphs", "features", "cpu")
    add("clusters", "features", "cpu")
    return jobs + _after_slides(len(jobs), trainings, CLUSTER_JOB)


def on_one_machine(stages: dict[str, np.ndarray], trainings: Sequence[float]) -> list[Job]:
    """Return the jobs of a machine with all the slots: each stage of each slide is one."""
    jobs = []
    for tissue, patches, features, graphs, clusters in zip(*stages.values(), strict=True):
        at = len(jobs)
        for name, work, after in (
            ("cpu", tissue, []),
            ("cpu", patches, [at]),
            ("gpu", features, [at + 1]),
            ("cpu", graphs, [at + 2]),
            ("cpu", clusters, [at + 2]),
        ):
            load = LOAD / 32 if name == "gpu" else 0  # a job encodes 31 further slides ahead
            jobs.append(Job(name, 1, work + START + load, work, after))
    return jobs + _after_slides(len(jobs), trainings, 0)


def _after_slides(slides: int, trainings: Sequence[float], overhead: float) -> list[Job]:
    """Return the job that gathers the cohort and the trainings behind it."""
    gather = Job("cpu", 1, 60 + overhead, 60, list(range(slides)))  # opens three files a slide
    return [gather, *(Job("gpu", 1, s + LOAD + overhead, s, [slides]) for s in trainings)]


def _side_by_side(seconds: np.ndarray, cores: int) -> float:
    """Return when the last of some jobs ends that start in order on the first free core."""
    ends = [0.0] * cores
    for job in seconds:
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


def simulate(
    jobs: Sequence[Job], slots: dict[str, int], poll: float, dispatch: float, seed: int = 0
) -> float:
    """Return when the last job ends.

    Parameters
    ----------
    jobs : what is to be done; `after` refers to places in it.
    slots : of each resource.
    poll : a job's end is seen after up to so many seconds, drawn evenly.
    dispatch : seconds that Snakemake takes to start a job, one after another.
    """
    random = np.random.default_rng(seed)
    waiting_for = [len(job.after) for job in jobs]
    behind: dict[int, list[int]] = {}
    for number, job in enumerate(jobs):
        for before in job.after:
            behind.setdefault(before, []).append(number)
    ready: dict[str, list[int]] = {name: [] for name in slots}
    for number, job in enumerate(jobs):
        if not job.after:
            heapq.heappush(ready[job.resource], -number)  # later stages first, as inputs weigh more
    free, now, dispatcher, end = dict(slots), 0.0, 0.0, 0.0
    events: list[tuple[float, int, str]] = []
    while True:
        for name, queue in ready.items():
            while queue and jobs[-queue[0]].amount <= free[name]:
                number = -heapq.heappop(queue)
                dispatcher = max(now, dispatcher) + dispatch
                free[name] -= jobs[number].amount
                heapq.heappush(events, (dispatcher + jobs[number].seconds, number, "ended"))
        if not events:
            return end
        now, number, what = heapq.heappop(events)
        if what == "ended":
            end = now
            free[jobs[number].resource] += jobs[number].amount
            heapq.heappush(events, (now + poll * random.random(), number, "seen"))
            continue
        for later in behind.get(number, []):
            waiting_for[later] -= 1
            if not waiting_for[later]:
                heapq.heappush(ready[jobs[later].resource], -later)


def bound(jobs: Sequence[Job], slots: dict[str, int]) -> float:
    """Return work / slots of the scarcest resource."""
    work = {name: sum(job.work for job in jobs if job.resource == name) for name in slots}
    return max(work[name] / slots[name] for name in slots)


def main() -> None:
    """Print makespan and bound of a cluster and of one machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--experiments", type=int, nargs="+", default=[3, 50])
    parser.add_argument("--rates", type=float, nargs="+", default=[300, 500, 1000], help="of a GPU")
    parser.add_argument("--hours", type=float, default=1.5, help="of a training on one GPU")
    parser.add_argument("--cpu", type=int, default=64)
    parser.add_argument("--gpu", type=int, default=8)
    parser.add_argument("--dispatch", type=float, default=0.02, help="benchmarks/scheduling.py")
    chosen = parser.parse_args()
    slots = {"cpu": chosen.cpu, "gpu": chosen.gpu}
    print(
        f"{'where':>12} {'part':>22} {'jobs':>6} {'CPU h':>6} {'GPU h':>6} {'bound h':>8} "
        f"{'makespan h':>10} {'over':>6} {'Snakemake busy':>14}"
    )
    for where, make, poll in (("cluster", on_cluster, POLL), ("one machine", on_one_machine, 0.0)):
        parts = {
            f"slides, {rate:g} patches/s": make(seconds_of_slide(chosen.slides, rate), ())
            for rate in chosen.rates
        }
        overhead = CLUSTER_JOB if where == "cluster" else 0
        for experiments in chosen.experiments:
            spread = np.random.default_rng(1).uniform(0.8, 1.2, 5 * experiments)
            parts[f"{len(spread)} trainings"] = _after_slides(
                0, 3600 * chosen.hours * spread, overhead
            )
        for part, jobs in parts.items():
            least, takes = bound(jobs, slots), simulate(jobs, slots, poll, chosen.dispatch)
            hours = {n: sum(j.work for j in jobs if j.resource == n) / 3600 for n in slots}
            print(
                f"{where:>12} {part:>22} {len(jobs):6} {hours['cpu']:6.1f} {hours['gpu']:6.1f} "
                f"{least / 3600:8.2f} {takes / 3600:10.2f} {takes / least - 1:6.1%} "
                f"{len(jobs) * chosen.dispatch / takes:14.2%}"
            )


if __name__ == "__main__":
    main()
