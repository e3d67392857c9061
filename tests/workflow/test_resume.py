"""A killed run goes on and ends with the same bytes, on however many cores."""

import os
import signal
import subprocess
import time

import pytest


@pytest.mark.xdist_group("finished")
@pytest.mark.timeout(900)
def test_killed_in_the_middle_and_resumed_on_one_core_gives_the_same_bytes(
    finished, new_project, tmp_path
):
    project = new_project(tmp_path / "project")
    features = project.folder / "results/features/resnet50"
    with open(tmp_path / "killed.txt", "w") as log:
        running = subprocess.Popen(
            project.command("--cores", "1"),
            cwd=project.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        deadline = time.monotonic() + 600
        while len(list(features.glob("*.h5"))) < 3:
            assert running.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(0.5)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert not (project.folder / "results/report.html").exists()
    done = [path.stem for path in features.glob("*.h5")]

    # beside the models that are not there yet: no file of a job, so that it is left alone
    strange = project.folder / "results/models/nll/fold0/checkpoint/state.pt"
    strange.parent.mkdir(parents=True)
    strange.write_text("of another training")

    locked = project.run(check=False)
    assert "--unlock" in locked.stderr + locked.stdout, "the lock of the killed run is explained"
    project.run("--unlock")
    resumed = project.run("--cores", "1")
    for slide in done:
        assert f"tissue of {slide}\n" not in resumed.stderr, "what was finished is not done again"
    said = (project.folder / "results/logs/train_model/nll/fold0.log").read_text()
    assert "state.pt is of other settings" in said

    expected, found = finished.results(), project.results()
    assert found.keys() == expected.keys()
    different = [name for name in expected if found[name] != expected[name]]
    assert different == []
