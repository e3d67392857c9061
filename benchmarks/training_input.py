"""Training on bags of 50,000 patches: seconds and memory of an epoch, against a loop over `.pt`.

`python benchmarks/training_input.py`. Both learn the same: the same network and losses, the same
patients, windows and validation, on one core. Ours is `mil.training.train_model`. The peer holds
the bags of a window, each loaded by `torch.load` in every epoch, and their graphs until the step,
as AdvMIL's and Patch-GCN's loops do. Each run is a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

HEADS = ("nll", "cox", "adversarial")
WIDTH = 1024


def write_cohort(root: Path, patients: int, patches: int) -> None:
    """Write feature files, the same features as `.pt`, the tables and a fold below `root`."""
    import torch

    random = np.random.default_rng(0)
    rows = []
    (root / "features").mkdir(parents=True)
    for i in range(patients):
        name = f"P{i:03d}"
        x = random.standard_normal((patches, WIDTH), dtype=np.float32)
        with h5py.File(root / f"features/{name}.h5", "w") as file:
            file["features"] = x
            file["coords"] = np.zeros((patches, 2), np.int64)
            file.attrs["sha256"] = name
        torch.save(torch.from_numpy(x), root / f"features/{name}.pt")
        rows.append(
            {
                **{"slide_id": name, "patient_id": name, "n_patches": patches, "width": WIDTH},
                **{"features": f"features/{name}.h5", "features_sha256": name, "regions": "true"},
            }
        )
    pd.DataFrame(rows).to_csv(root / "cohort.csv", index=False)
    time_seen = random.exponential(1000, patients) + 1
    event = (np.arange(patients) % 4 > 0).astype(int)
    names = [row["patient_id"] for row in rows]
    table = {"patient_id": names, "time": time_seen, "event": event}
    pd.DataFrame(table).to_csv(root / "patients.csv", index=False)
    held = max(2, patients // 4)
    parts = ["train"] * (patients - held) + ["validation"] * held
    pd.DataFrame({"patient_id": names, "part": parts}).to_csv(root / "fold0.csv", index=False)


def ours(root: Path, head: str, epochs: int) -> None:
    """Train as the workflow does."""
    from mil.training import train_model

    train_model(
        cohort=root / "cohort.csv",
        patients=root / "patients.csv",
        fold=root / "fold0.csv",
        root=root,
        experiment={
            **{"name": head, "model": "abmil", "head": head, "encoder": "any"},
            "training": {"epochs": epochs},
        },
        seed=1,
        fold_index=0,
        model=root / "out/model.safetensors",
        config=root / "out/config.yaml",
        history=root / "out/history.csv",
        running={"device": "cpu"},
    )


def peer(root: Path, head: str, epochs: int) -> None:
    """Train as a plain loop: a window's bags and graphs are held until the step."""
    import torch

    from mil.bags import Bag
    from mil.heads import HEADS as KINDS
    from mil.heads.base import Labels
    from mil.network import build_network
    from mil.survival.losses.adversarial import discriminator_loss
    from mil.training.optimisers import add_l1_gradient, build_optimiser
    from mil.training.windows import windows

    torch.set_num_threads(1)
    torch.manual_seed(1)
    people = pd.read_csv(root / "patients.csv").merge(pd.read_csv(root / "fold0.csv"))
    train, held = people[people["part"] == "train"], people[people["part"] == "validation"]
    fitted = KINDS.find(head).fit(train["time"].to_numpy(), train["event"].to_numpy())
    network = build_network({"model": "abmil", "head": head}, WIDTH, fitted, standardise=False)
    kind = network.head
    judge = kind.opponent(WIDTH)
    optimiser = build_optimiser(network, kind.learning_rate, kind.weight_decay)
    judge_optimiser = None
    if judge is not None:
        judge_optimiser = build_optimiser(judge, kind.learning_rate, 0.0)

    def load(name: str) -> Bag:
        return Bag.single(torch.load(root / f"features/{name}.pt", weights_only=True))

    def outputs(bags: list[Bag], draws: int = 1) -> torch.Tensor:
        return torch.cat([network(bag, kind.noise(1, draws, None))[0] for bag in bags])

    for _ in range(epochs):
        for rows in windows(torch.randperm(len(train)).tolist(), 16, kind):
            part = train.iloc[rows]
            labels = Labels.of(part["time"].to_numpy(), part["event"].to_numpy())
            bags = [load(name) for name in part["patient_id"]]
            if judge is not None:
                network.eval(), judge.train()
                with torch.no_grad():
                    fake = outputs(bags)[:, 0]
                seen = [judge.encode(bag) for bag in bags]
                true = kind.scaled(labels)
                of_fake = torch.cat([judge.judge(e, fake[[i]]) for i, e in enumerate(seen)])
                of_true = torch.cat([judge.judge(e, true[[i]]) for i, e in enumerate(seen)])
                judge_optimiser.zero_grad()
                discriminator_loss(of_true[labels.event], of_fake).backward()
                judge_optimiser.step()
                del seen
            network.train()
            output = outputs(bags)
            loss = kind.loss(output, labels)
            if judge is not None:
                judge.eval().requires_grad_(False)
                seen = [judge.encode(bag) for bag in bags]
                logits = [judge.judge(e, output[[i], 0]) for i, e in enumerate(seen)]
                loss = loss + kind.adversarial_loss(torch.cat(logits))
                judge.requires_grad_(True)
            optimiser.zero_grad()
            loss.backward()
            add_l1_gradient(network, 1e-5)
            optimiser.step()
        network.eval()
        with torch.no_grad():
            for name in held["patient_id"]:
                outputs([load(name)], 30)


class Watch:
    """Sample the anonymous memory of this process, which nothing but itself can give back."""

    def __enter__(self) -> "Watch":
        self.peak, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _sample(self) -> None:
        while not self.over.wait(0.01):
            self.peak = max(self.peak, status("RssAnon"))


def status(name: str) -> int:
    """Return a line of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) // 1024
    raise KeyError(name)


def counters() -> dict[str, int]:
    """Return the bytes this process has read: by calls (rchar), and from disks (read_bytes)."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def measure(who: str, root: Path, head: str, epochs: int) -> None:
    """Run in this process and print what it took."""
    work = {"ours": ours, "peer": peer}[who]
    work(root, head, 0) if who == "peer" else __import__("mil.training")  # imports are not counted
    before, start, used = counters(), time.perf_counter(), time.process_time()
    with Watch() as watch:
        work(root, head, epochs)
    seconds, used, after = time.perf_counter() - start, time.process_time() - used, counters()
    read, disk = (after[key] - before[key] for key in ("rchar", "read_bytes"))
    print(
        f"{head:12} {who:5} {seconds:7.1f} s ({used:6.1f} s of a core), "
        f"anonymous memory {watch.peak:6,} MB, all {status('VmHWM'):6,} MB, "
        f"read() {read / 1e6:8,.0f} MB, disk {disk / 1e6:6,.0f} MB",
        flush=True,
    )


def main() -> None:
    """Write a cohort and run every measurement in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--patches", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--only", choices=("ours", "peer"), help="one side alone")
    parser.add_argument("--root", type=Path, help="a cohort written before; it stays")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure[:1], options.root, options.measure[1], options.epochs)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        if not (root / "cohort.csv").exists():
            write_cohort(root, options.patients, options.patches)
        for head in options.heads:
            for who in [options.only] if options.only else ("ours", "peer"):
                command = [sys.executable, __file__, "--measure", who, head]
                command += ["--root", str(root), "--epochs", str(options.epochs)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
