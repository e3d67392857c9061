"""What can go wrong on a cluster, one thing after the other; docs/cluster.md tells users of each.

Four slides are enough: tissue and patches of all are one cluster job.
"""

import shutil
import signal
import subprocess

import pytest

from tests.workflow.slurm.cluster import ask, squeue, wait_for
from tests.workflow.slurm.conftest import ClusterRun

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(600)]

SLIDES = ("S001", "S002", "S003A", "S004A")
FILES = [f"results/{kind}/{slide}.{suffix}" for slide in SLIDES
         for kind, suffix in (("tissue", "geojson"), ("patches/level2", "h5"),
                              ("patches/level1", "h5"))]  # fmt: skip
TARGETS = FILES[2::3]
JOB = "prep-"


@pytest.fixture(scope="module")
def fresh(smaller_project, tmp_path_factory):
    """A checkout with the cohort, before anything has run."""
    return smaller_project(tmp_path_factory.mktemp("fresh") / "project").folder


@pytest.fixture(scope="module")
def expected(smaller_project, tmp_path_factory):
    """What a run on one machine makes, by file."""
    project = smaller_project(tmp_path_factory.mktemp("expected") / "project")
    project.run(*TARGETS)
    return {file: (project.folder / file).read_bytes() for file in FILES}


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory):
    """Skip where small file systems, which fill up, cannot be mounted."""
    place = tmp_path_factory.mktemp("mount")
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def folder(fresh, tmp_path):
    """A copy of that checkout for one test."""
    shutil.copytree(fresh, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


@pytest.fixture
def is_finished(expected):
    """A function that says whether a run has made every file, as a run on one machine has."""
    return lambda folder: expected == {file: (folder / file).read_bytes() for file in FILES}


@pytest.fixture(scope="module")
def hung(cluster, fresh, tmp_path_factory):
    """A run whose job hangs; its time is over in a minute, while other tests run."""
    folder = tmp_path_factory.mktemp("hung") / "project"
    shutil.copytree(fresh, folder, symlinks=True)
    run = ClusterRun(folder, cluster, *TARGETS)
    try:
        job, _ = run.running(JOB)
        (limit,) = squeue("%l", f"--jobs={job}")
        for process in cluster.processes(job):
            process.suspend()
        subprocess.run(["scontrol", "update", f"jobid={job}", "timelimit=1"], check=True)
        yield folder, run, job, minutes(limit)
    finally:
        run.end()


def minutes(limit):
    """Return the minutes of SLURM's ``1:30:00`` or ``40:00``."""
    *hours, minutes, _ = map(int, limit.split(":"))
    return 60 * sum(hours) + minutes


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
            subprocess.run([*update, "state=resume"], capture_output=True)  # it may be up already
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


@pytest.mark.usefixtures("can_mount")
def test_the_disk_of_a_node_is_full(cluster, cluster_run, folder, is_finished):
    with cluster.full_disk("cpu1"), cluster_run(folder, *TARGETS) as run:
        wait_for(lambda: "held" in "".join(ask("squeue", "-h", "-o", "%r")), 300, "held job")
        assert cluster.states()["cpu1"] == "drained", "SLURM sends it nothing more"
        (job,) = run.jobs()
        subprocess.run(["scontrol", "release", job], check=True)
        assert run.wait() == 0, run.text()[-3000:]
    assert [row["NodeList"] for row in cluster.finished() if row["JobId"] == job][-1] == "cpu2"
    assert is_finished(folder)


@pytest.mark.usefixtures("can_mount", "hung")
def test_the_disk_fills_up(cluster_run, folder, is_finished):
    results = folder / "results"
    results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(results)], check=True)
    try:
        with cluster_run(folder, TARGETS[0]) as run:
            assert run.wait() == 1, "a full disk is no outcome of a slide"
        assert len(run.jobs()) == 3, "it is tried again, twice"
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


def test_a_job_hangs_until_its_time_is_over(cluster, hung, is_finished):
    folder, run, job, limit = hung
    run.expect("Trying to restart")
    assert run.wait() == 0, run.text()[-3000:]
    assert states(cluster, job) == ["TIMEOUT"]
    (again,) = [j for j in run.jobs() if j != job]
    asked = [int(row["TimeLimit"]) for row in cluster.finished() if row["JobId"] == again]
    assert asked == [2 * limit], "a retry asks for twice the time"
    assert is_finished(folder)
