"""One job encodes many slides; every slide keeps its own job, and nothing stale is taken."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from tests.wsi.encoding.conftest import lay
from wsi.encoding.ahead import Ahead
from wsi.extract import extract_features
from wsi.storage import Outcome, read_attributes, read_features, sha256_file, write_h5
from wsi.weights import fetch_weights


@pytest.fixture
def job(cohort, tiny, tmp_path):
    """Run the job of one slide, with all slides of the cohort waiting."""
    everything = {task.slide_id: task.slide for task in cohort}

    def job(task, ahead=0, folder=tmp_path / "features", slides=everything, **settings):
        path = folder / f"{task.slide_id}.h5"
        outcome = extract_features(
            slide_id=task.slide_id,
            slide=task.slide,
            patches=task.patches,
            features=str(path),
            ahead=ahead,
            slides=slides,
            speeds=str(tmp_path / "speeds"),
            **({"device": "cpu", "weights": str(tiny)} | settings),
        )
        assert outcome.ok
        return path

    return job


def files(folder):
    return {p.name: sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_job_encodes_others_and_their_jobs_only_move_the_files(
    job, cohort, tmp_path, caplog, monkeypatch
):
    alone = tmp_path / "alone"
    for task in cohort:
        job(task, folder=alone)
    caplog.set_level("INFO")
    job(cohort[1], ahead=3)
    features = tmp_path / "features"
    # those after the own one first
    ahead = {path.name for path in (features / "ahead").iterdir()}
    assert ahead == {f"S{i}.{kind}" for i in (2, 3, 4) for kind in ("h5", "origin")}

    import wsi.encoding.network

    monkeypatch.setattr(wsi.encoding.network, "Network", None)  # nobody may encode them again
    for i in (2, 3, 4):
        caplog.clear()
        job(cohort[i])
        assert "encoded ahead, by the job of another slide" in caplog.text
    monkeypatch.undo()
    job(cohort[0], ahead=9)  # none is left to do
    assert files(features) == files(alone)
    assert not (features / "ahead").exists()
    speeds = sorted(path.name for path in (tmp_path / "speeds").iterdir())
    assert speeds == [f"S{i}.json" for i in range(5)]


@pytest.mark.parametrize("changed", ["slide", "patches", "settings", "code", "unsealed"])
def test_what_was_made_from_something_else_is_not_taken(
    job, make_slide, noise, tmp_path, monkeypatch, changed
):
    own, other = (
        lay(tmp_path, n, noise(1024, 1024, seed=i), make_slide) for i, n in enumerate("AB")
    )
    job(own, ahead=1, slides={"A": own.slide, "B": other.slide})
    waiting = tmp_path / "features/ahead/B.h5"
    before = waiting.stat().st_ino
    settings = {}
    if changed == "slide":
        make_slide(tmp_path / "B.tiff", noise(1024, 1024, seed=8), downsamples=(4,))
    if changed == "patches":
        work = tmp_path / "again"
        work.mkdir()
        lay(work, "B", noise(1024, 1024, seed=1), make_slide, size=32)
        (work / "level1/B.h5").rename(other.patches)
    if changed == "settings":
        settings["precision"] = "bfloat16"
    if changed == "code":
        monkeypatch.setattr("wsi.extract.code_digest", lambda name: "another")
    if changed == "unsealed":  # the job was killed between file and seal
        (tmp_path / "features/ahead/B.origin").unlink()
    path = job(other, **settings)
    assert path.stat().st_ino != before
    fresh = job(other, folder=tmp_path / "fresh", **settings)
    assert sha256_file(path) == sha256_file(fresh)


def test_an_unchanged_one_is_moved(job, make_slide, noise, tmp_path):
    own, other = (
        lay(tmp_path, n, noise(1024, 1024, seed=i), make_slide) for i, n in enumerate("AB")
    )
    job(own, ahead=1, slides={"A": own.slide, "B": other.slide})
    before = (tmp_path / "features/ahead/B.h5").stat().st_ino
    time.sleep(0.02)
    os.utime(other.patches)  # touched: Snakemake will want features that are newer
    path = job(other)
    assert path.stat().st_ino == before
    assert path.stat().st_mtime >= os.stat(other.patches).st_mtime


def test_slides_that_need_nothing_or_cannot_be_encoded_are_left_alone(job, cohort, tmp_path):
    features = tmp_path / "features"
    job(cohort[2])  # finished
    os.utime(features / "S2.h5")
    failed = Outcome("F", "make_patches", "failed", "slide F: no tissue.", "no_tissue")
    folder = tmp_path / "patches"
    folder.mkdir()
    for task in cohort[:3]:
        os.link(task.patches, folder / f"{task.slide_id}.h5")
    write_h5(folder / "F.h5", failed, {"coords": np.zeros((0, 2), np.int64)})
    slides = {task.slide_id: task.slide for task in cohort[:3]}
    slides |= {"F": "failed.tiff", "later": "later.tiff", "S0": "/nowhere/gone.tiff"}
    own = cohort[1].__class__("S1", cohort[1].slide, str(folder / "S1.h5"))
    job(own, ahead=9, slides=slides)
    assert not (features / "ahead").exists()  # S0 failed to open and is left to its own job


def test_an_old_seal_does_not_vouch_for_a_new_file(job, cohort, tmp_path, monkeypatch):
    """Settings go to and fro, and the job is killed between file and seal."""
    job(cohort[0], ahead=1)
    with monkeypatch.context() as patch:
        patch.setattr(Ahead, "seal", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            job(cohort[0], ahead=1, precision="bfloat16")
    assert read_attributes(job(cohort[1]))["precision"] == "float32"


def test_a_job_that_fails_leaves_no_claim(job, cohort, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("wsi.extract.write_h5", lambda *_: pytest.fail("the disk is full"))
        with pytest.raises(pytest.fail.Exception, match="the disk is full"):
            job(cohort[0], ahead=4)
    assert not list((tmp_path / "features").rglob("*.claim"))
    job(cohort[0])


def test_a_job_waits_for_another_that_is_at_its_slide_and_takes_what_that_made(
    job, cohort, tmp_path, monkeypatch
):
    job(cohort[0], ahead=1)  # S1 waits ...
    ahead = tmp_path / "features/ahead"
    for name in ("S1.h5", "S1.origin"):
        (ahead / name).rename(tmp_path / name)
    peer = Ahead(tmp_path / "features", dict)
    assert peer.claim(cohort[1])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job, cohort[1])
        time.sleep(1)
        assert not waiting.done()
        before = (tmp_path / "S1.h5").stat().st_ino
        for name in ("S1.h5", "S1.origin"):  # ... but only now
            (tmp_path / name).rename(ahead / name)
        peer.release(cohort[1])
        assert waiting.result(timeout=20).stat().st_ino == before
    assert not ahead.exists()


def test_a_disk_without_locks_is_no_obstacle(job, cohort, monkeypatch, caplog):
    def no_locks(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("wsi.encoding.ahead.fcntl.flock", no_locks)
    assert len(read_features(job(cohort[0]))[0]) == 16
    assert "knows no locks" in caplog.text


@pytest.mark.parametrize(
    ("own", "ahead", "expected"), [(2, 9, {3}), (3, 9, {2}), (4, 9, set()), (0, 1, {1})]
)
def test_on_a_cluster_a_job_encodes_its_own_share_of_the_slides_only(
    job, cohort, tmp_path, own, ahead, expected
):
    assert len(cohort) == 5
    job(cohort[own], ahead=ahead, together=2)  # S0 and S1, S2 and S3, S4
    found = {path.stem for path in (tmp_path / "features").glob("ahead/*.h5")}
    assert found == {f"S{i}" for i in expected}


def test_finished_slides_are_encoded_ahead_again_when_settings_changed(job, cohort, tmp_path):
    for task in cohort[:2]:
        job(task)
    job(cohort[0], ahead=1)
    names = {path.name for path in (tmp_path / "features").rglob("ahead/*.h5")}
    assert names == {"S2.h5"}  # S1 is finished
    job(cohort[0], ahead=1, precision="bfloat16")
    names = {path.name for path in (tmp_path / "features").rglob("ahead/*.h5")}
    assert names == {"S1.h5", "S2.h5"}


def test_two_jobs_share_the_slides_and_wait_for_each_other(cohort, tmp_path):
    store = Ahead(tmp_path, lambda: {"weights": "1"})
    peer = Ahead(tmp_path, lambda: {"weights": "1"})
    assert store.claim(cohort[0])
    assert not peer.claim(cohort[0])
    assert [task.slide_id for task in peer.others(cohort, 2)] == ["S1", "S2"]
    assert [task.slide_id for task in store.others(cohort, 9)] == ["S3", "S4"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(peer.claim, cohort[0], wait=True)
        time.sleep(0.1)
        assert not waiting.done()
        store.release(cohort[0])
        assert waiting.result(timeout=5)
    for task in cohort:
        store.release(task)
        peer.release(task)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def slow_encoder(tmp_path):
    """Weights of a small network of one's own that takes some milliseconds a patch."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 7, 2), nn.ReLU(), *(nn.Conv2d(64, 64, 5) for _ in range(4))]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    example = torch.zeros(1, 3, 128, 128)
    torch.jit.save(torch.jit.trace(network, example, check_trace=False), tmp_path / "own.pt")
    fetch_weights(
        encoder="torchscript",
        weights=str(tmp_path / "own.pt"),
        output=str(tmp_path / "own.safetensors"),
        declared={"width": 64, "input_size": 128, "mean": [0.5] * 3, "std": [0.2] * 3},
    )
    return tmp_path / "own.safetensors"


@pytest.mark.timeout(600)
def test_killed_three_times_a_job_of_twenty_slides_resumes_to_the_same_bytes(
    make_slide, noise, slow_encoder, tmp_path
):
    """SIGKILL at random moments; each time the same job is started again."""
    rng = np.random.default_rng()  # other moments in every run
    tasks = [lay(tmp_path, f"S{i:02}", noise(1024, 1024, seed=i), make_slide) for i in range(20)]

    def settings(task, folder):
        return {
            "slide_id": task.slide_id,
            "slide": task.slide,
            "patches": task.patches,
            "weights": str(slow_encoder),
            "features": str(folder / f"{task.slide_id}.h5"),
            "device": "cpu",
            "threads": 2,
            "ahead": 19,
            "slides": {task.slide_id: task.slide for task in tasks},
        }

    def start(folder):
        given = tmp_path / "settings.json"
        given.write_text(json.dumps(settings(tasks[0], folder)))
        command = [sys.executable, "-m", "wsi", "extract_features", f"@{given}"]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def finished(folder):
        return {p.name: p.stat().st_mtime_ns for p in folder.rglob("S*.h5")}

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    done = []
    for more in rng.integers(1, 6, 3):
        before = len(finished(killed))
        running = start(killed)
        while len(finished(killed)) < before + more:
            assert running.poll() is None, "the job ended before it could be killed"
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        running.kill()
        assert running.wait() == -signal.SIGKILL
        done.append(finished(killed))
    assert start(killed).wait() == 0
    done.append(finished(killed))
    assert len(done[-1]) == 20
    for first, second in pairwise(done):  # what was written stays...
        again = [name for name in first if second[name] != first[name]]
        assert len(again) <= 1  # ... but for a slide killed between its file and the seal

    for task in tasks[1:]:  # every slide's own job finds its features
        for folder in (whole, killed):
            extract_features(**settings(task, folder))
    assert files(killed) == files(whole)
    assert len(files(whole)) == 20
