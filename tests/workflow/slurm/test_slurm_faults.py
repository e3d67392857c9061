"""What can go wrong on a cluster, one thing after the other; docs/cluster.md tells users of each.

Four slides are enough: tissue and patches of all are one cluster job.
"""

import shutil
import signal
import subprocess

import pytest

from tests.workflow.slurm.cluster import squeue, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.xdist_group("finished"),
              pytest.mark.timeout(1500)]  # fmt: skip

SLIDES = ("S001", "S002", "S005", "S006")
FILES = [f"results/{kind}/{slide}.{suffix}" for slide in SLIDES
         for kind, suffix in (("tissue", "geojson"), ("patches/level2", "h5"),
                              ("patches/level1", "h5"))]  # fmt: skip
TARGETS = FILES[2::3]
JOB = "prep-"


@pytest.fixture
def folder(project, tmp_path):
    """A checkout with the small cohort, before anything has run."""
    shutil.copytree(project.folder, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


@pytest.fixture
def is_finished(finished):
    """A function that says whether a run has made every file, as a run on one machine has."""

    def check(folder):
        return [(folder / f).read_bytes() == (finished.folder / f).read_bytes() for f in FILES]

    return lambda folder: all(check(folder))


def states(cluster, job):
    return [row["JobState"] for row in cluster.finished() if row["JobId"] == job]


def test_an_administrator_takes_the_node_down(cluster, cluster_run, folder, is_finished):
    with cluster_run(folder, *TARGETS) as run:
        job, node = run.running(JOB)
        update = ["scontrol", "update", f"nodename={node}"]
        subprocess.run([*update, "state=down", "reason=test"], check=True)
        try:
            assert run.wait() == 0, run.text()[-3000:]
        finally:
            subprocess.run([*update, "state=resume"])  # an error if it is up again by itself
        assert list(run.jobs()) == [job], "SLURM starts the same job again"
    assert states(cluster, job) == ["NODE_FAIL", "COMPLETED"]
    assert is_finished(folder)


def test_a_more_urgent_job_takes_the_node(cluster, cluster_run, folder, is_finished):
    with cluster_run(folder, *TARGETS) as run:
        job, node = run.running(JOB)
        urgent = ["sbatch", "-p", "urgent", "-w", node, "--exclusive", "--output=/dev/null"]
        subprocess.run([*urgent, "--wrap", "sleep 5"], check=True, capture_output=True)
        assert run.wait() == 0, run.text()[-3000:]
        assert list(run.jobs()) == [job], "SLURM starts the same job again"
    assert states(cluster, job) == ["PREEMPTED", "COMPLETED"]
    assert is_finished(folder)


def test_a_job_hangs_until_its_time_is_over(cluster, cluster_run, folder, is_finished):
    with cluster_run(folder, *TARGETS) as run:
        job, _ = run.running(JOB)
        (limit,) = squeue("%l", f"--jobs={job}")
        for process in cluster.processes(job):
            process.suspend()
        subprocess.run(["scontrol", "update", f"jobid={job}", "timelimit=1"], check=True)
        run.expect("Trying to restart")
        again = wait_for(lambda: [j for j in run.jobs() if j != job], 120, "second attempt")[0]
        (longer,) = squeue("%l", f"--jobs={again}")
        assert run.wait() == 0, run.text()[-3000:]
    assert states(cluster, job) == ["TIMEOUT"]
    assert minutes(longer) == 2 * minutes(limit), "a retry asks for twice the time"
    assert is_finished(folder)


def minutes(limit):
    """Return the minutes of SLURM's ``1:30:00`` or ``40:00``."""
    *hours, minutes, _ = map(int, limit.split(":"))
    return 60 * sum(hours) + minutes


def test_the_disk_fills_up(cluster_run, folder, is_finished):
    results = folder / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(results)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        with cluster_run(folder, *TARGETS) as run:
            assert run.wait() == 1, "a full disk is no outcome of a slide"
        assert "No space left on device" in run.text()
        bigger = ["mount", "-o", "remount,size=64m", str(results)]
        subprocess.run(bigger, check=True)
        with cluster_run(folder, *TARGETS) as run:
            assert run.wait() == 0, run.text()[-3000:]
        assert is_finished(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(results)], check=True)


@pytest.mark.parametrize(
    ("sent", "ended"), [(signal.SIGINT, "CANCELLED"), (signal.SIGTERM, "COMPLETED")]
)
def test_snakemake_is_asked_to_stop(cluster, cluster_run, folder, is_finished, sent, ended):
    with cluster_run(folder, *TARGETS) as run:
        job, _ = run.running(JOB)
        run.process.send_signal(sent)
        assert run.wait() == 1
        wait_for(lambda: states(cluster, job), 60, "end of its job")
        assert states(cluster, job) == [ended]
    with cluster_run(folder, *TARGETS) as run:
        assert run.wait() == 0, run.text()[-3000:]
    assert is_finished(folder)


def test_the_login_session_is_lost(cluster_run, folder, is_finished):
    with cluster_run(folder, *TARGETS) as run:
        job, _ = run.running(JOB)
        run.process.send_signal(signal.SIGHUP)
        assert run.wait() == -signal.SIGHUP
        assert job in squeue("%i", "--states=R"), "the cluster job goes on, unseen"
    with cluster_run(folder, *TARGETS) as run:  # after scancel --name
        assert run.wait() == 1
        assert "--unlock" in run.text()
    with cluster_run(folder, "--unlock") as run:
        assert run.wait() == 0
    with cluster_run(folder, *TARGETS) as run:
        assert run.wait() == 0, run.text()[-3000:]
    assert is_finished(folder)
