import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsi.commandline import command_of, decode, encode, main
from wsi.jobs import KEEP_MEMORY, prepare_environment, run_job
from wsi.storage import read_outcome

PROJECT = Path(__file__).resolve().parents[2]

MAIN = """
import sys

from wsi.commandline import main

STAGES = ("fine", "bug", "refused", "killed", "cancelled", "hungry", "dropped", "full", "shy")
sys.exit(main("parcel", dict.fromkeys(STAGES, "parcel.stages"), sys.argv[1:]))
"""

STAGES = """
import errno
import json
import logging
import os
import signal
from pathlib import Path

from wsi.outcome import slide_stage
from wsi.progress import PROGRESS

log = logging.getLogger(__name__)


@slide_stage(writes=("output",))
def fine(*, slide_id, output, **settings):
    print("printed")
    log.info("informed")
    log.warning("warned")
    log.log(PROGRESS, "half way")
    Path(output).write_text(json.dumps(settings, sort_keys=True))


@slide_stage(writes=("output",))
def bug(*, slide_id, output):
    return slide_id.no_such_attribute


@slide_stage(writes=("output",))
def refused(*, slide_id, output):
    error = ValueError("config.yaml: size is 0; it must be more.")
    error.is_sentence = True
    raise error


@slide_stage(writes=("output",))
def killed(*, slide_id, output, number):
    if number != signal.SIGKILL:  # a shell's background jobs inherit that SIGINT is ignored
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@slide_stage(writes=("output",))
def shy(*, slide_id, output, marker):
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    Path(output).write_text("second time")


@slide_stage(writes=("output",))
def hungry(*, slide_id, output):
    raise MemoryError


@slide_stage(writes=("output",))
def dropped(*, slide_id, output):
    raise OSError(errno.EIO, "Input/output error")


@slide_stage(writes=("output",))
def full(*, slide_id, output):
    raise OSError(errno.ENOSPC, "No space left on device")
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Run a stage of a package made for these tests."""
    package = tmp_path / "code" / "parcel"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(MAIN)
    (package / "stages.py").write_text(STAGES)
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{PROJECT}")

    def job(stage, attempt=1, attempts=1, **settings):
        run_job(
            "parcel",
            stage,
            log=str(tmp_path / "logs" / "job.log"),
            attempt=attempt,
            attempts=attempts,
            slide_id="S1",
            output=str(tmp_path / "S1.npz"),
            **settings,
        )

    return job


@pytest.fixture
def logged(tmp_path):
    return lambda: (tmp_path / "logs" / "job.log").read_text()


SETTINGS = {
    "text": "a b'c\"d $HOME ; ünï\ncode",
    "number_like": "007",
    "integer_like": "12",
    "float_like": "1e5",
    "true_like": "true",
    "null_like": "null",
    "equals": "a=b",
    "at": "@file",
    "empty": "",
    "space": " 5 ",
    "quoted": '"x"',
    "integer": 12,
    "real": 0.1,
    "yes": True,
    "none": None,
    "list": ["a", 1, None, [2]],
    "table": {"by": "mpp", "coarse": 4.0, "1": {}},
}


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_survives_the_command_line_with_its_type(key):
    arguments = encode({key: SETTINGS[key]})
    assert shlex.split(shlex.join(arguments)) == arguments
    found = decode(arguments)
    assert found == {key: SETTINGS[key]}
    assert type(found[key]) is type(SETTINGS[key])


def test_settings_too_long_for_the_system_travel_in_a_file(tmp_path):
    settings = {"slides": [f"S{i:06}" for i in range(20_000)], "k": 8}
    command = command_of("mil", "cluster_patches", settings, tmp_path / "spill.json")
    assert sum(map(len, command)) < 1000
    assert decode(command[3:]) == settings


def test_an_argument_without_a_value_is_refused():
    with pytest.raises(SystemExit, match="argument 'verbose': expected key=value"):
        decode(["verbose"])


def test_an_unknown_stage_lists_the_known_ones(capsys):
    assert main("wsi", {"b": "x", "a": "y"}, ["c"]) == 2
    assert capsys.readouterr().err.endswith("stages:\n  a\n  b\n")


def test_the_first_line_of_the_log_repeats_the_job(job, logged, tmp_path):
    settings = SETTINGS | {"text": SETTINGS["text"].replace("\n", " ")}
    job("fine", **settings)
    output = tmp_path / "S1.npz"
    expected = output.read_text()
    assert json.loads(expected) == settings
    output.unlink()
    command = shlex.split(logged().splitlines()[0])
    assert command[:4] == ["python", "-m", "parcel", "fine"]
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    assert output.read_text() == expected


def test_the_command_is_one_line_for_ordinary_settings(job, logged):
    job("fine", size=256, scale={"by": "mpp"})
    first = logged().splitlines()[0]
    assert first.startswith("python -m parcel fine slide_id=S1 output=")
    assert first.endswith("""size=256 'scale={"by": "mpp"}'""")


def test_the_log_has_all_and_the_terminal_what_matters(job, logged, capsys):
    job("fine")
    for word in ("printed", "informed", "warned", "half way"):
        assert word in logged()
    shown = capsys.readouterr().err
    assert "warned" in shown
    assert "half way" in shown
    assert "informed" not in shown


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_bug_fails_the_job_at_once_with_its_traceback(job, logged, capsys, tmp_path, attempt):
    with pytest.raises(SystemExit) as ended:
        job("bug", attempt=attempt, attempts=3)
    assert ended.value.code == 1
    assert "AttributeError" in logged()
    shown = capsys.readouterr().err
    assert "bug failed; the end of" in shown
    assert "no_such_attribute" in shown
    assert not (tmp_path / "S1.npz").exists()


def test_what_a_user_did_wrong_is_a_sentence_without_a_traceback(job, logged):
    with pytest.raises(SystemExit):
        job("refused")
    assert "config.yaml: size is 0; it must be more." in logged()
    assert "Traceback" not in logged()


@pytest.mark.parametrize(
    ("stage", "settings", "why"),
    [
        ("killed", {"number": signal.SIGSEGV.value}, "killed by SIGSEGV"),
        ("killed", {"number": signal.SIGKILL.value}, "killed by SIGKILL"),
        ("hungry", {}, "out of memory or I/O"),
        ("dropped", {}, "out of memory or I/O"),
    ],
)
def test_a_crash_is_tried_again_and_then_becomes_the_outcome(
    job, logged, tmp_path, stage, settings, why
):
    output = tmp_path / "S1.npz"
    with pytest.raises(SystemExit) as ended:
        job(stage, attempt=1, attempts=2, **settings)
    assert ended.value.code not in (0, None)
    assert f"attempt 1 of 2 failed ({why}); it is tried again." in logged()
    assert not output.exists()
    job(stage, attempt=2, attempts=2, **settings)  # succeeds: the run goes on
    outcome = read_outcome(output)
    assert (outcome.slide, outcome.status, outcome.kind) == ("S1", "failed", "crash")
    assert why in outcome.reason
    assert "in each of 2 attempts" in outcome.reason


def test_the_second_try_may_succeed(job, tmp_path):
    marker = str(tmp_path / "marker")
    with pytest.raises(SystemExit):
        job("shy", attempt=1, attempts=2, marker=marker)
    job("shy", attempt=2, attempts=2, marker=marker)
    assert (tmp_path / "S1.npz").read_text() == "second time"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_job_is_no_fault_of_the_slide(job, tmp_path, number):
    """A person or the scheduler stopped it: the last attempt too must fail."""
    with pytest.raises(SystemExit) as ended:
        job("killed", attempt=2, attempts=2, number=number.value)
    assert ended.value.code == 1
    assert not (tmp_path / "S1.npz").exists()


def test_a_full_disk_is_no_fault_of_the_slide(job, logged, tmp_path):
    with pytest.raises(SystemExit):
        job("full", attempt=2, attempts=2)
    assert "No space left on device" in logged()
    assert not (tmp_path / "S1.npz").exists()


def test_a_stage_with_one_attempt_just_fails(job, tmp_path):
    with pytest.raises(SystemExit):
        job("killed", number=signal.SIGSEGV.value)
    assert not (tmp_path / "S1.npz").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_killed_job_leaves_no_stage_behind(job, tmp_path):
    pid = tmp_path / "pid"
    stages = tmp_path / "code" / "parcel" / "stages.py"
    sleeping = (
        f"import time\nfrom pathlib import Path\n\ndef fine(**settings):\n"
        f"    Path({str(pid)!r} + 'part').write_text(str(__import__('os').getpid()))\n"
        f"    Path({str(pid)!r} + 'part').rename({str(pid)!r})\n    time.sleep(60)\n"
    )
    stages.write_text(sleeping)
    program = (
        f"from wsi.jobs import run_job; run_job('parcel', 'fine', log={str(tmp_path / 'l')!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    wait_for(pid.exists)
    child = int(pid.read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(child))


def alive(pid):
    """A zombie that nobody has collected yet does no work."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=20):
    import time

    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def test_jobs_find_this_checkout_and_take_one_thread_each(monkeypatch):
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    for name in ("PYTHONPATH", "PYTHONHASHSEED", *threads, *KEEP_MEMORY):
        monkeypatch.setenv(name, "before")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "before")
    prepare_environment("/project")
    prepare_environment("/project")
    assert os.environ["PYTHONPATH"] == "/project:before"
    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
