"""One cluster for all tests, runs on it, and the same on one machine."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.workflow.slurm.cluster import Cluster, running_cluster, squeue, wait_for, why_not

PROFILE = Path(__file__).parent / "profile"
SNAKEMAKE = Path(__file__).parent / "impatient_snakemake.py"
SLOWER = Path(__file__).parent / "slower"


SMALLER = {  # than the small cohort: eight slides, of which one is blank, and one experiment
    "exclude": ["S003B", "S004B", "S008B", "S009", "S010"],
    "experiments": [{"name": "advmil", "model": "abmil", "head": "adversarial"}],
}


class ClusterRun:
    """A run of the workflow by `profiles/slurm`, while it lasts and afterwards."""

    def __init__(self, folder: Path, cluster: Cluster, *arguments: str):
        self.cluster, self.log = cluster, folder / f"run{time.monotonic_ns()}.log"
        command = [sys.executable, str(SNAKEMAKE), "--profile", "profiles/slurm"]
        self.process = subprocess.Popen(
            [*command, "--profile", str(PROFILE), *arguments],
            cwd=folder,
            stdout=open(self.log, "w"),
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{cluster.folder}/bin:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(
                    filter(None, [str(SLOWER), os.environ.get("PYTHONPATH")])
                ),
            },
            # Ctrl-C must reach it even where the tests run in the background of a shell
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def text(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float = 1500) -> int:
        return self.process.wait(seconds)

    def expect(self, what: str, seconds: float = 600) -> None:
        """Wait until the run has said something."""
        wait_for(lambda: re.search(what, self.text()), seconds, f"line with {what!r}")

    def running(self, name: str, seconds: float = 600) -> tuple[str, str]:
        """Wait until a cluster job of a rule or group is in the middle; return number and node."""

        def found():
            assert self.process.poll() is None, self.text()[-3000:]
            running = dict(squeue("%i %N", "--states=R"))
            mine = [job for job, what in self.jobs().items() if name in what and job in running]
            mine = [job for job in mine if self.cluster.is_at_work(job)]
            return (mine[0], running[mine[0]]) if mine else None

        return wait_for(found, seconds, f"running job of {name}")

    def end(self) -> None:
        """Stop what is left of the run; SLURM calls all its jobs by one name."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if name := re.search(r"SLURM run ID: (\S+)", self.text()):
            subprocess.run(["scancel", f"--name={name[1]}"], check=True)
            wait_for(lambda: not squeue("%i", f"--name={name[1]}"), 120, "end of its jobs")

    def jobs(self) -> dict[str, str]:
        """Return what was submitted: by SLURM's number, the name of the rule or group."""
        lines = re.findall(r"SLURM jobid (\d+) \(log: \S*/logs/slurm/(\w[^/]*)/", self.text())
        return dict(lines)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """SLURM's daemons with four nodes; the test is skipped where they cannot be."""
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # SLURM's sockets: a short path
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        with running_cluster(folder) as cluster:
            yield cluster
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def smaller_project(new_project):
    """A function that makes a checkout with the cohort of these tests."""

    def make(folder: Path):
        project = new_project(folder)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, **SMALLER}))
        return project

    return make


@pytest.fixture
def cluster_run(cluster):
    """A function that starts a run in a folder; what is left of it ends with the test."""

    @contextmanager
    def run(folder: Path, *arguments: str) -> Iterator[ClusterRun]:
        started = ClusterRun(folder, cluster, *arguments)
        try:
            yield started
        finally:
            started.end()

    return run
