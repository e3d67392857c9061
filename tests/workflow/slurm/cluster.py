"""A real SLURM on one machine: a controller and four nodes, two of them with two fake GPUs each.

Debian's packages slurm-wlm and munge, started as root; nodes are processes with a port each. Every
process is stopped by its id; those of tests that were killed themselves, before the next start.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LOCK = Path("/tmp/slide-survival-slurm.lock")  # ports and /etc/slurm are there once a machine
NAME = "slide-survival-test"
ETC = Path("/etc/slurm")
MUNGE = Path("/run/munge/munged.pid")
NODES = ("cpu1", "cpu2", "gpu1", "gpu2")

SLURM_CONF = """
ClusterName={name}
SlurmctldHost=localhost
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
# a requeued job waits so long for its old credential to expire; the default is two minutes
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
# nodes may claim more than this machine has
SlurmdParameters=config_overrides
# a lost node is noticed after so many seconds; the default is five minutes
SlurmdTimeout=15
# no control groups: SLURM counts memory and GPUs, and enforces neither
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=500
# squeue must remember a finished job until Snakemake has asked
MinJobAge=600
KillWait=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# the only record of where jobs ran once they are forgotten
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs.txt
NodeName=cpu[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=8 RealMemory=64000 State=UNKNOWN
NodeName=gpu[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17003-17004] CPUs=8 RealMemory=64000 Gres=gpu:a100:2 State=UNKNOWN
PartitionName=cpu Nodes=cpu[1-2] Default=YES MaxTime=1-0 PriorityTier=1 State=UP
PartitionName=gpu Nodes=gpu[1-2] MaxTime=1-0 PriorityTier=1 State=UP
PartitionName=urgent Nodes=cpu[1-2],gpu[1-2] MaxTime=1-0 PriorityTier=9 State=UP
"""  # noqa: E501


def why_not() -> str | None:
    """Return why no cluster can be started here, or None."""
    if os.getuid() != 0:
        return "SLURM's daemons are started by root"
    missing = [p for p in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(p) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    conf = ETC / "slurm.conf"
    if conf.exists() and f"ClusterName={NAME}\n" not in conf.read_text():
        return f"{ETC}/slurm.conf belongs to a real cluster"
    return None


class Cluster:
    """SLURM's daemons below a folder; `folder` must be short and world-readable."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._munge_is_ours = folder / "run/munge-is-ours"  # a file, for who cleans up behind us

    def start(self) -> None:
        for name in ("etc", "run", "log", "state", "spool", "dev", "bin"):
            (self.folder / name).mkdir(parents=True)
        nvidia = self.folder / "bin/nvidia-smi"  # tells that a node has a GPU
        nvidia.touch(0o755)
        self._start_munge()
        for i in range(2):  # copies of the null device: ordinary files are refused
            os.mknod(self.folder / f"dev/nvidia{i}", 0o600 | 0o020000, os.makedev(1, 3))
        conf = self.folder / "etc/slurm.conf"
        conf.write_text(SLURM_CONF.format(name=NAME, folder=self.folder))
        gres = self.folder / "etc/gres.conf"
        gres.write_text(
            f"NodeName=gpu[1-2] Name=gpu Type=a100 File={self.folder}/dev/nvidia[0-1]\n"
        )
        ETC.mkdir(exist_ok=True)
        for file in (conf, gres):  # the job step forgets SLURM_CONF: only the default place works
            (ETC / file.name).unlink(missing_ok=True)
            (ETC / file.name).symlink_to(file)
        subprocess.run(["slurmctld", "-c"], check=True, capture_output=True)
        for node in NODES:
            (self.folder / "spool" / node).mkdir()
            self.start_node(node)
        wait_for(lambda: set(self.states().values()) == {"idle"}, 120, "four idle nodes")

    def stop(self) -> None:
        for node in NODES:
            _end(self.folder / f"run/slurmd.{node}.pid", signal.SIGKILL)
        for job in self.steps():
            self.kill_job(job, and_slurms_own=True)
        for process in left_by_jobs():
            with _gone():
                process.kill()
        _end(self.folder / "run/slurmctld.pid")
        if self._munge_is_ours.exists():
            _end(MUNGE)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)

    def start_node(self, node: str) -> None:
        subprocess.run(["slurmd", "-N", node], check=True, capture_output=True)

    @contextmanager
    def full_disk(self, node: str) -> Iterator[None]:
        """Leave a node no room on its own disk, where SLURM's daemon keeps scripts of jobs."""
        spool = self.folder / "spool" / node
        daemon = self.folder / f"run/slurmd.{node}.pid"
        _end(daemon)
        small = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(spool)]
        subprocess.run(small, check=True)
        try:
            self.start_node(node)
            with suppress(OSError), open(spool / "full", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))
            yield
        finally:
            _end(daemon)
            subprocess.run(["umount", str(spool)], check=True)
            self.start_node(node)
            subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=True)

    def lose_node(self, node: str) -> None:
        """Kill a node's daemon and all its jobs at once, as when its power fails."""
        jobs = [job for job, where in squeue("%i %N", "--states=R") if where == node]
        _end(self.folder / f"run/slurmd.{node}.pid", signal.SIGKILL)
        for job in jobs:
            self.kill_job(job, and_slurms_own=True)

    def kill_job(self, job: str, and_slurms_own: bool = False) -> None:
        """Kill all processes of a job, as the kernel does when memory runs out."""
        for step in self.steps().get(job, []):
            own = [step] if and_slurms_own else []
            for process in [*own, *self.processes(job)]:
                with _gone():
                    process.kill()

    def processes(self, job: str) -> list[psutil.Process]:
        """Return what runs in a job, SLURM's own processes left out."""
        found = []
        for step in self.steps().get(job, []):
            with _gone():
                found += step.children(recursive=True)
        return found

    def steps(self) -> dict[str, list[psutil.Process]]:
        """Return SLURM's own processes of each job; they call themselves `slurmstepd: [7.0]`."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with _gone():
                title = " ".join(process.cmdline())
                if title.startswith("slurmstepd: ["):
                    job = title.partition("[")[2].partition(".")[0]
                    found.setdefault(job, []).append(process)
        return found

    def is_at_work(self, job: str) -> bool:
        """Whether a stage of the workflow runs in a job, and not only Snakemake."""
        for process in self.processes(job):
            with _gone():
                if {"wsi", "mil"} & set(process.cmdline()):
                    return True
        return False

    def states(self) -> dict[str, str]:
        """Return the state of each node, e.g. ``idle``, ``mixed``, ``down*``."""
        lines = ask("sinfo", "-h", "-N", "-o", "%N %T")
        return dict(line.split() for line in lines)

    def finished(self) -> list[dict[str, str]]:
        """Return SLURM's record of every job that has ended: JobId, JobState, NodeList ..."""
        path = self.folder / "log/jobs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [dict(p.split("=", 1) for p in line.split() if "=" in p) for line in lines]

    def _start_munge(self) -> None:
        if MUNGE.exists() and psutil.pid_exists(int(MUNGE.read_text())):
            return
        self._munge_is_ours.touch()
        subprocess.run("install -d -o munge -g munge -m 755 /run/munge".split(), check=True)
        key = Path("/etc/munge/munge.key")
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            shutil.chown(key, "munge", "munge")
            key.chmod(0o400)
        as_munge = "setpriv --reuid=munge --regid=munge --init-groups".split()
        subprocess.run([*as_munge, "munged", "--num-threads=10"], check=True, capture_output=True)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster for a while; a second one on this machine waits until it has ended.

    Tests that are killed leave theirs behind; the lock's file says where, and it is stopped first.
    """
    with open(LOCK, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if left := lock.read():
            Cluster(Path(left)).stop()
            shutil.rmtree(left, ignore_errors=True)
        lock.truncate(0)
        lock.write(str(folder))
        lock.flush()
        cluster = Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            lock.truncate(0)
            shutil.rmtree(folder)


def left_by_jobs() -> list[psutil.Process]:
    """Return what still runs of any job of such a cluster, orphans too, by its environment."""
    found = []
    for process in psutil.process_iter():
        with _gone():
            if process.environ().get("SLURM_CLUSTER_NAME") == NAME:
                found.append(process)
    return found


def ask(*command: str) -> list[str]:
    """Return the lines a command of SLURM prints."""
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def squeue(columns: str, *options: str) -> list:
    """Return what squeue says of running and waiting jobs: strings, or tuples of columns."""
    rows = [line.split() for line in ask("squeue", "-h", "-o", columns, *options)]
    return [tuple(row) if len(columns.split()) > 1 else row[0] for row in rows]


def wait_for(condition: Callable, seconds: float, what: str, fail: bool = True):
    """Return what `condition` returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            if fail:
                queue = subprocess.run(["squeue"], capture_output=True, text=True).stdout
                raise AssertionError(f"after {seconds:g} s there is no {what}; queue:\n{queue}")
            break
        time.sleep(0.3)
    return found


@contextmanager
def _gone() -> Iterator[None]:
    """Let a process that has just ended be."""
    try:
        yield
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass


def _end(pid_file: Path, how: signal.Signals = signal.SIGTERM) -> None:
    """Stop the process of a pid file and wait until it is gone, or a zombie."""
    if not pid_file.exists():
        return
    with _gone():
        process = psutil.Process(int(pid_file.read_text()))
        process.send_signal(how)
        wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE, 20, "end", fail=False)
        process.kill()
    pid_file.unlink(missing_ok=True)
