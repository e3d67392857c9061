"""The whole workflow on a SLURM cluster that loses a node and a job in the middle."""

import re
import subprocess

import pytest

from tests.workflow.slurm.cluster import squeue, wait_for
from tests.workflow.slurm.conftest import ClusterRun

pytestmark = pytest.mark.slurm

ON_GPU = {"extract_features", "train_model", "predict_fold"}


@pytest.fixture(scope="module")
def local(smaller_project, tmp_path_factory):
    """The same on one core, at the same time; a function that waits for it."""
    project = smaller_project(tmp_path_factory.mktemp("local") / "project")
    command = [part if part != "2" else "1" for part in project.command()]
    with open(project.folder / "run.log", "w") as log:
        process = subprocess.Popen(command, cwd=project.folder, stdout=log, stderr=log)

    def results():
        assert process.wait() == 0, (project.folder / "run.log").read_text()[-3000:]
        return project.results()

    yield results
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def interrupted(cluster, local, smaller_project, tmp_path_factory):
    """A finished run during which the node of a job lost its power and another job was killed."""
    project = smaller_project(tmp_path_factory.mktemp("slurm") / "project")
    run = ClusterRun(project.folder, cluster)
    try:
        lost, node = run.running("prep-")
        cluster.lose_node(node)
        wait_for(lambda: restarted_elsewhere(lost, node), 300, "second start of its job")
        cluster.start_node(node)
        killed, _ = run.running("features-")
        cluster.kill_job(killed)
        code = run.wait()
    finally:
        run.end()
    print("\n".join(f"{run.jobs().get(j['JobId'])} {j['JobId']} {j['JobState']} on {j['NodeList']},"
                    f" {j['Tres']}, {j['StartTime']} to {j['EndTime']}"
                    for j in cluster.finished()))  # fmt: skip
    assert code == 0, run.text()[-6000:]
    return project, run, lost, killed


def restarted_elsewhere(job, node):
    return any(row[0] == job and row[1] != node for row in squeue("%i %N", "--states=R"))


@pytest.mark.timeout(1800)
def test_a_lost_node_and_a_killed_job_change_no_byte(local, interrupted):
    project, *_ = interrupted
    expected, found = local(), project.results()
    found.pop("run.json"), expected.pop("run.json")  # how it was run, not what came of it
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_lost_job_was_started_again_elsewhere(cluster, interrupted):
    _, run, lost, killed = interrupted
    ended = {}
    for job in cluster.finished():
        ended.setdefault(job["JobId"], []).append((job["JobState"], job["NodeList"]))
    assert [state for state, _ in ended[lost]] == ["NODE_FAIL", "COMPLETED"]
    assert len({node for _, node in ended[lost]}) == 2
    assert [state for state, _ in ended[killed]] == ["FAILED"]
    group = run.jobs()[killed]
    again = [job for job, name in run.jobs().items() if name == group and job != killed]
    assert [ended[job][0][0] for job in again] == ["COMPLETED"], "by Snakemake, as a new job"


def test_rules_with_a_gpu_ran_on_gpu_nodes_and_only_those(cluster, interrupted):
    _, run, *_ = interrupted
    submitted = run.jobs()
    for job in cluster.finished():
        name = submitted.get(job["JobId"])
        if name:
            needs_gpu = any(rule in name for rule in ON_GPU)
            assert job["NodeList"].startswith("gpu" if needs_gpu else "cpu"), name


def test_slides_share_cluster_jobs(interrupted):
    _, run, *_ = interrupted
    names = list(run.jobs().values())
    assert len(names) < 20
    assert sum("features-" in name for name in names) == 8 // 4 + 1, "one of them twice"


def test_on_a_gpu_the_first_slide_goes_first_and_the_others_side_by_side(interrupted):
    project, run, _, killed = interrupted
    (name,) = {name for name in run.jobs().values() if "features-" in name} - {run.jobs()[killed]}
    (log,) = (project.folder / "logs/slurm" / name).rglob("*.log")
    started = re.findall(r"Execute (\d+) jobs", log.read_text())
    assert started[:3] == ["1", "1", "2"], "the cluster job; the first of four slides; two more"
    assert log.read_text().count("Building DAG") == 2, "none starts Snakemake anew"


def test_logs_of_cluster_jobs_lie_in_logs_slurm(interrupted):
    project, run, *_ = interrupted
    for job, name in run.jobs().items():
        assert list((project.folder / "logs/slurm" / name).rglob(f"{job}.log")), name
