"""AdvMIL's training and evaluation, ours against a plain loop: `python benchmarks/training.py`.

100 patients with 3,008 x 1024 float32 features on disk (64 to train, 16 to validate, 20 to test),
windows of 16, an adversarial head. Both sides start from the same parameters, take the same steps
in the same order, on one thread and with deterministic algorithms; ours reads HDF5, the peer `.pt`.
Every run is a process of its own and the least time of an epoch counts, in seconds of the core that
it keeps busy (on a GPU: of the clock), so that the machine may have other work. On a CPU with two
cores both sides run at the same time, each held to a core, and change cores from run to run: what
slows the machine slows both. Otherwise, or with `--in-turn`, runs alternate.

The peer does what the original does (`benchmarks/plain_advmil.py` has its networks): it reads every
file in every epoch, takes the sixteen bags one by one, keeps the generator's graphs alive while the
discriminator learns, encodes a bag for its observed time and again for its generated one, holds
sixteen bags and their graphs for the generator's step, and after every epoch looks at validation
*and* test patients. Its evaluation passes 30 draws and a first one through the whole network.

`--check` shows that both do the same work: without dropout and noise, losses and predicted times of
both must be the same but for rounding.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from training_input import Watch, write_cohort

MODELS = ("abmil", "deepattnmisl", "patchgcn", "esat")
PARTS = {"train": 64, "validation": 16, "test": 20}
PATCHES, WINDOW, DRAWS, SEED = 3008, 16, 30, 1


def prepare(root: Path) -> None:
    """Write features, graphs, clusters, tables and folds below `root`."""
    from wsi.storage import Outcome, save_npz

    write_cohort(root, sum(PARTS.values()), PATCHES)
    cohort = pd.read_csv(root / "cohort.csv", dtype=str)
    row, column = np.divmod(np.arange(PATCHES), 64)
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    near = [((row + a) % 47) * 64 + (column + b) % 64 for a, b in steps]  # a torus of 47 x 64
    edges = np.stack([np.tile(np.arange(PATCHES), 8), np.concatenate(near)])
    random = np.random.default_rng(1)
    for name in cohort["patient_id"]:
        stored = {"edge_index": edges, "centroid": np.zeros((PATCHES, 2), np.float32)}
        made = Outcome(name, "build_graph")
        save_npz(root / f"{name}.graph.npz", made, {"sha256": name, "latent": False}, **stored)
        stored = {"cluster": random.integers(0, 8, PATCHES).astype(np.int32)}
        stored |= {"slides": np.array([name]), "rows": np.array([PATCHES])}
        made = Outcome(name, "cluster_patches")
        save_npz(root / f"{name}.clusters.npz", made, {"sha256": name}, **stored)
        np.savez(root / f"{name}.plain.npz", edges=edges, cluster=stored["cluster"])
    for kind in ("graph", "clusters"):
        cohort[kind] = [f"{name}.{kind}.npz" for name in cohort["patient_id"]]
        cohort[f"{kind}_sha256"] = cohort["patient_id"]
    cohort.to_csv(root / "cohort.csv", index=False)
    people = pd.read_csv(root / "patients.csv")
    people["event"] = (np.arange(len(people)) % 3 == 0).astype(int)  # as many as NLST has
    people.to_csv(root / "patients.csv", index=False)
    parts = np.repeat(list(PARTS), list(PARTS.values()))
    fold = pd.DataFrame({"patient_id": people["patient_id"], "part": parts})
    fold.to_csv(root / "fold0.csv", index=False)
    few = pd.concat([fold.iloc[[0]], fold[fold["part"] != "train"].iloc[[0]], fold.tail(20)])
    few.to_csv(root / "few.csv", index=False)


def settings(model: str, options: argparse.Namespace) -> dict:
    """Return the experiment that both sides run."""
    exact = {"dropout": 0.0} if options.check else {}
    head = {"output": "sigmoid", "noise": "0-0" if options.check else "0-1", **exact}
    if options.check:  # what is left of dropout: the discriminator's
        import torch

        start = torch.nn.Dropout.__init__
        torch.nn.Dropout.__init__ = lambda self, *_, **__: start(self, 0.0)
    every = {"mask_empty": False} if model == "deepattnmisl" else {}
    return {
        **{"name": model, "model": model, "head": "adversarial", "encoder": "any"},
        **{"model_options": {**every, **exact}, "head_options": head},
        "training": {
            **{"epochs": options.epochs, "window": WINDOW},
            **{"draws": DRAWS, "validation_draws": DRAWS},
        },
    }


def files(root: Path) -> dict[str, Path]:
    """Return the tables both `train_model` and `predict_fold` read."""
    return {
        **{"cohort": root / "cohort.csv", "patients": root / "patients.csv", "root": root},
    }


def ours(root: Path, model: str, options: argparse.Namespace) -> dict:
    """Train and evaluate as the workflow does."""
    from mil.prediction import predict_fold
    from mil.training import epoch as epochs
    from mil.training import train_model

    clock, running = clock_of(options.device), {"device": options.device}
    marks = []  # an epoch ends with its look at the validation part
    measure = epochs.Validation.measure

    def timed(self: epochs.Validation, record: object) -> None:
        measure(self, record)
        marks.append(clock())

    epochs.Validation.measure = timed
    out = root / f"out-{model}"
    stored = {"model": out / "model.safetensors", "config": out / "config.yaml"}
    with Watch() as watch:
        train_model(
            **files(root),
            **stored,
            fold=root / "fold0.csv",
            experiment=settings(model, options),
            seed=SEED,
            fold_index=0,
            history=out / "history.csv",
            running=running,
        )
    memory = peak(watch, options.device)
    start = clock()
    predict_fold(
        **files(root),
        **stored,
        fold=root / "few.csv",
        predictions=out / "predictions.csv",
        draws=out / "draws.npz",
        attention=out / "attention.npz",
        running=running,
    )
    evaluation = (clock() - start) / 22
    history = pd.read_csv(out / "history.csv")
    columns = ["train_loss", "adversarial_loss", "discriminator_loss", "validation_loss"]
    predicted = pd.read_csv(out / "predictions.csv")["predicted_time"]
    return {
        "epochs": np.diff(marks).tolist(),
        "evaluation": evaluation,
        "memory": memory,
        "losses": history[columns].to_numpy().tolist(),
        "predicted": predicted.tolist(),
    }


def peer(root: Path, model: str, options: argparse.Namespace) -> dict:
    """Train and evaluate as the original does."""
    import torch
    from plain_advmil import Generator, Judge

    from mil.advmil.names import original_discriminator, original_generator
    from mil.bags import Bag
    from mil.network import build_network
    from mil.seeds import seed_for
    from mil.training.determinism import deterministic

    experiment, device = settings(model, options), torch.device(options.device)
    people = pd.read_csv(root / "patients.csv").merge(pd.read_csv(root / "fold0.csv"))
    parts = {part: people[people["part"] == part].reset_index(drop=True) for part in PARTS}
    t_ref, clock = float(parts["train"]["time"].max()), clock_of(options.device)
    seeds = ("train", model, 0)

    def load(name: str) -> Bag:
        x = torch.load(root / f"features/{name}.pt", weights_only=True)
        others = {}
        if model in ("patchgcn", "deepattnmisl"):
            with np.load(root / f"{name}.plain.npz") as stored:
                if model == "patchgcn":
                    others["edge_index"] = torch.from_numpy(stored["edges"])
                else:
                    others["cluster"] = torch.from_numpy(stored["cluster"].astype(np.int64))
        return Bag.single(x, **others).to(device)

    def regression(y: torch.Tensor, t: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return (e * (y - t).abs() + (1 - e) * (t - y).relu()).mean()

    with deterministic(device, seed_for(SEED, *seeds, "start")):
        start = build_network(experiment, 1024, {"t_ref": t_ref}, standardise=False)
        judge_start = start.head.opponent(1024)
        flags = tuple(map(int, experiment["head_options"]["noise"].split("-")))
        g, d = Generator(model, flags), Judge()
        g.load_state_dict(original_generator(start))
        d.load_state_dict(original_discriminator(judge_start))
        if options.check and model == "esat":
            g.backbone.patch_encoder_layer.layers[0].self_attn.dropout = 0.0
        g.to(device), d.to(device)
        matrices = [p for p in g.parameters() if p.ndim > 1]
        others = [p for p in g.parameters() if p.ndim <= 1]
        decayed = {"params": matrices, "weight_decay": 5e-4}
        optimiser = torch.optim.Adam([decayed, {"params": others}], lr=8e-5)
        judge_optimiser = torch.optim.Adam(d.parameters(), lr=8e-5)
        order = torch.Generator().manual_seed(seed_for(SEED, *seeds, "order"))
        if not options.check:
            torch.manual_seed(seed_for(SEED, *seeds, "dropout"))

        def labels(part: pd.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
            t = torch.tensor((part["time"] / t_ref).to_numpy(np.float32))
            e = torch.tensor(part["event"].to_numpy(np.float32))
            return t.to(device).view(-1, 1), e.to(device).view(-1, 1)

        def step(bags: list[Bag], t: torch.Tensor, e: torch.Tensor) -> list[float]:
            g.eval(), d.train()
            fakes = [g(bag) for bag in bags]  # their graphs live on, though nobody needs them
            real = [d(bag, t[[i]]) for i, bag in enumerate(bags) if e[i] > 0]
            fake = [d(bag, y.detach()) for bag, y in zip(bags, fakes, strict=True)]
            softplus = torch.nn.functional.softplus
            loss_d = softplus(torch.cat(fake)).mean()
            if real:
                loss_d = loss_d + softplus(-torch.cat(real)).mean()
            judge_optimiser.zero_grad()
            loss_d.backward()
            judge_optimiser.step()

            g.train(), d.eval()
            ys = [g(bag) for bag in bags]
            opposed = -0.004 * torch.cat([d(b, y) for b, y in zip(bags, ys, strict=True)]).mean()
            time_loss = regression(torch.cat(ys), t, e)
            l1 = 1e-5 * sum(p.abs().sum() for p in g.parameters())
            optimiser.zero_grad()
            (time_loss + opposed + l1).backward()
            optimiser.step()
            return [time_loss.item(), opposed.item(), loss_d.item()]

        @torch.no_grad()
        def look(part: pd.DataFrame) -> float:
            g.eval(), d.eval()
            ys = []
            for name in part["patient_id"]:
                bag = load(name)
                ys.append(g(bag))
                d(bag, ys[-1])
            return regression(torch.cat(ys), *labels(part)).item()

        marks, losses = [], []
        with Watch() as watch:
            for _ in range(options.epochs):
                shuffled = torch.randperm(PARTS["train"], generator=order).tolist()
                steps = []
                for first in range(0, len(shuffled), WINDOW):
                    part = parts["train"].iloc[shuffled[first : first + WINDOW]]
                    bags = [load(name) for name in part["patient_id"]]
                    steps.append(step(bags, *labels(part)))
                    del bags
                losses.append([*np.mean(steps, 0), look(parts["validation"])])
                look(parts["test"])
                marks.append(clock())
        memory = peak(watch, options.device)

        start = clock()
        few = pd.read_csv(root / "few.csv")["patient_id"]
        predicted = []
        with torch.no_grad():
            g.eval(), d.eval()
            for name in few[: options.evaluated]:
                bag = load(name)
                d(bag, g(bag))
                draws = torch.cat([g(bag) for _ in range(DRAWS)])
                predicted.append(draws.median().item() * t_ref)
        evaluation = (clock() - start) / options.evaluated
    return {
        "epochs": np.diff(marks).tolist(),
        "evaluation": evaluation,
        "memory": memory,
        "losses": losses,
        "predicted": predicted,
    }


def clock_of(device: str) -> Callable[[], float]:
    """Return a clock: seconds of a core on a CPU, all seconds with a GPU."""
    return time.process_time if device == "cpu" else time.perf_counter


def peak(watch: Watch, device: str) -> int:
    """Return the most memory held, in MB: anonymous of the process, or of the GPU."""
    if device == "cpu":
        return watch.peak
    import torch

    return torch.cuda.max_memory_allocated() // 2**20


def products(root: Path, model: str, options: argparse.Namespace) -> dict:
    """Return what the matrix products of one of our epochs cost by themselves.

    Every product that an epoch asks PyTorch for is written down with its shapes and strides; each
    kind is then timed alone, on the same threads, and counted as often as it came.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from mil.nn.instance_linear import ONEDNN
    from mil.training import epoch as epochs
    from mil.training import train_model

    asked: dict[tuple, int] = {}
    aten = torch.ops.aten
    first = {aten.mm.default: 0, aten.addmm.default: 1, aten.bmm.default: 0, ONEDNN: 0}

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function in first:
                pair = args[first[function] :][:2]
                if pair[0].layout == torch.strided:  # not the sparse ones of a graph
                    shapes = tuple((tuple(x.shape), x.stride()) for x in pair)
                    key = (function is ONEDNN, *shapes)
                    asked[key] = asked.get(key, 0) + 1
            return function(*args, **(kwargs or {}))

    epochs.Validation.complaints = lambda *_: []  # its pass comes once, after the last epoch
    options.epochs = 1
    with Record():
        train_model(
            **files(root),
            fold=root / "fold0.csv",
            experiment=settings(model, options),
            **{"seed": SEED, "fold_index": 0, "model": root / "m", "config": root / "c"},
            history=root / "h",
            running={"device": options.device},
        )
    torch.set_num_threads(1)
    seconds = flops = 0.0
    for (of_layer, a, b), count in asked.items():
        x, y = (torch.empty_strided(*like).normal_() for like in (a, b))  # as (shape, stride)
        product = functools.partial(torch.matmul, x, y)
        if of_layer:
            product = functools.partial(ONEDNN, x, y, None, "none", [], "")
        spent = []
        while len(spent) < 3 or (sum(spent) < 0.1 and len(spent) < 1000):
            begun = time.process_time()
            product()
            spent.append(time.process_time() - begun)
        seconds += count * min(spent)
        flops += count * 2 * np.prod(a[0], dtype=float) * b[0][0 if of_layer else -1]
    return {"seconds": seconds, "flops": flops}


WORK = {"ours": ours, "peer": peer, "products": products}


def run(
    who: str, root: Path, model: str, options: argparse.Namespace, core: int | None = None
) -> dict:
    """Do one side's work in a process of its own, on one core if it is given."""
    command = [sys.executable, __file__, "--only", who, "--root", str(root), "--models", model]
    command += ["--device", options.device, "--epochs", str(options.epochs)]
    command += ["--evaluated", str(options.evaluated), *(["--check"] if options.check else [])]
    hold = None if core is None else functools.partial(os.sched_setaffinity, 0, {core})
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=hold)
    return json.loads(found.stdout.splitlines()[-1])


def rounds(root: Path, model: str, options: argparse.Namespace) -> dict[str, list[dict]]:
    """Run both sides as often as asked for, at the same time where each can have a core."""
    sides, found = ("ours", "peer"), {"ours": [], "peer": []}
    cores = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []
    beside = options.device == "cpu" and len(cores) == 2 and not options.in_turn
    with ThreadPoolExecutor(2 if beside else 1) as pool:
        for _ in range(options.repeats):
            held = cores if beside else [None, None]
            ends = list(
                pool.map(lambda who, core: run(who, root, model, options, core), sides, held)
            )
            for who, end in zip(sides, ends, strict=True):
                found[who].append(end)
            cores.reverse()
    return found


def compare(root: Path, model: str, options: argparse.Namespace) -> dict[str, float] | None:
    """Print the figures of one model and return the seconds of an epoch of both sides."""
    results = rounds(root, model, options)
    a, b = results["ours"][0], results["peer"][0]
    if options.check:
        apart = np.abs(np.array(a["losses"]) - b["losses"]) / np.abs(b["losses"])
        times = np.array(a["predicted"][: len(b["predicted"])]) / b["predicted"] - 1
        print(
            f"{model}: losses (time, adversarial, discriminator, validation), {len(apart)} epochs, "
            f"differ by at most {np.round(apart.max(0), 9)}, predicted times by "
            f"{np.abs(times).max():.1e} (relative)"
        )
        return None
    epoch, evaluation = (
        {who: min(np.min(one[key]) for one in found) for who, found in results.items()}
        for key in ("epochs", "evaluation")
    )
    each = [
        np.mean(b["epochs"]) / np.mean(a["epochs"])
        for a, b in zip(results["ours"], results["peer"], strict=True)
    ]
    memory = {who: max(one["memory"] for one in found) for who, found in results.items()}
    bound = run("products", root, model, options) if options.device == "cpu" else None
    print(
        f"{model}: epoch {epoch['ours']:.2f} s, peer {epoch['peer']:.2f} s, "
        f"{epoch['peer'] / epoch['ours']:.2f} times (by the means of each run "
        f"{', '.join(f'{ratio:.2f}' for ratio in each)}); evaluation of a patient "
        f"{evaluation['ours']:.3f} s, peer {evaluation['peer']:.3f} s, "
        f"{evaluation['peer'] / evaluation['ours']:.1f} times; memory {memory['ours']:,} MB, peer "
        f"{memory['peer']:,} MB"
        + (
            f"; products of an epoch alone {bound['seconds']:.2f} s "
            f"({bound['flops'] / 1e9:,.0f} GFLOP, {bound['flops'] / bound['seconds'] / 1e9:.0f} "
            f"GFLOP/s), {bound['seconds'] / epoch['ours']:.0%} of ours"
            if bound
            else ""
        ),
        flush=True,
    )
    return epoch


def main() -> None:
    """Write the cohort and compare the models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted")
    parser.add_argument("--repeats", type=int, default=4, help="runs of each side")
    parser.add_argument("--in-turn", action="store_true", help="one side after the other")
    parser.add_argument("--evaluated", type=int, default=5, help="patients the peer evaluates")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--check", action="store_true", help="compare numbers instead of seconds")
    parser.add_argument("--root", type=Path, help="a cohort written before; it stays")
    parser.add_argument("--only", choices=WORK, help="one side alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        if not (root / "few.csv").exists():
            prepare(root)
        if options.only:
            (model,) = options.models
            print(json.dumps(WORK[options.only](root, model, options)))
            return
        epochs = [compare(root, model, options) for model in options.models]
        if len(epochs) > 1 and not options.check:
            both = {who: sum(one[who] for one in epochs) for who in ("ours", "peer")}
            times = both["peer"] / both["ours"]
            print(
                f"all: an epoch of each {both['ours']:.2f} s, peer {both['peer']:.2f} s, "
                f"{times:.2f} times"
            )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
