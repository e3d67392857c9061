"""A job of the workflow: a stage in a process of its own, with a log and a second chance."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from wsi.commandline import TRY_AGAIN, command_of, quoted

TAIL = 20  # lines of the log shown when a job fails
CANCELLED = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}  # sent by people and schedulers


# glibc hands large blocks back to the system at once and takes them anew, page by page; a network
# does that for every layer and spends a fifth of its time so on a CPU. Jobs keep what they had.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_ARENA_MAX": "1",
}


def prepare_environment(project: str) -> None:
    """Set what all jobs inherit: this checkout's packages, one thread a library, memory kept.

    Parameters
    ----------
    project : folder that holds ``wsi`` and ``mil``; conda environments do not have them installed.
    """
    paths = [project, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))
    os.environ["PYTHONHASHSEED"] = "0"
    for library in ("OMP", "MKL", "OPENBLAS"):  # jobs run side by side, each on its own core
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ.update(KEEP_MEMORY)


def run_job(
    package: str,
    stage: str,
    *,
    log: str,
    attempt: int = 1,
    attempts: int = 1,
    common: str = "",
    **settings: object,
) -> None:
    """Run ``python -m package stage key=value ...`` and end the way the workflow expects.

    The first line of `log` is the command that repeats the job by hand. The stage runs in a child
    process, so that a crash inside a native library is seen and not shared. Progress and warnings
    are shown on the terminal too.

    Parameters
    ----------
    package, stage : what to run.
    log : path of the log file.
    attempt, attempts : which try this is and how many there are. A stage of one slide that is
        killed or runs out of memory is tried again; the last time, the crash becomes the slide's
        outcome and the job succeeds. Stages with one attempt, and cancelled ones, just fail.
    common : JSON file with further settings, the same for many jobs.
    settings : plain values for the stage.

    Raises
    ------
    SystemExit : with a code other than 0 when the stage failed.
    """
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    command = command_of(package, stage, settings, path.with_suffix(".json"))
    if common:
        command.append(f"@{common}")
    with open(path, "w") as file:
        file.write(quoted(command) + "\n")
        code = _run(command, file)
        if code == 0:
            return
        if attempts > 1 and (code == TRY_AGAIN or (code < 0 and -code not in CANCELLED)):
            why = f"killed by {signal.Signals(-code).name}" if code < 0 else "out of memory or I/O"
            if attempt < attempts:
                _say(file, f"attempt {attempt} of {attempts} failed ({why}); it is tried again.")
                raise SystemExit(code if code > 0 else 1)
            crashed = (
                f"{stage} was {why} in each of {attempts} attempts (see {log}). To try again, run "
                f"snakemake with --forcerun and this output; or list the slide under exclude."
            )
            _say(file, crashed)
            if _run([*command, f"crashed={crashed}"], file) == 0:
                return
    lines = path.read_text(errors="replace").splitlines()[1:]
    print("\n".join([f"{stage} failed; the end of {log}:", *lines[-TAIL:]]), file=sys.stderr)
    raise SystemExit(1)


def _run(command: list[str], file) -> int:
    """Run python with `command`; copy what it prints to `file`, warnings to the terminal too."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=_die_with_parent,
    )
    for line in process.stdout:
        file.write(line)
        file.flush()
        if f" {logging.getLevelName(logging.WARNING)} " in line or " PROGRESS " in line:
            print(line, end="", file=sys.stderr, flush=True)
    return process.wait()


def _die_with_parent() -> None:
    """Let the kernel kill the stage when its job is killed, so that nothing works on unseen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


def _say(file, text: str) -> None:
    file.write(text + "\n")
    print(text, file=sys.stderr)
