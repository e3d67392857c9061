"""Every bag model beside torchmil's: `pip install torchmil==1.0.2; python benchmarks/models.py`.

Forward and backward of the loss of one bag of N instances of 1,024 float32 features on a grid with
its 8 neighbours, on one thread: seconds of the core and what memory rises to above model and bag.
Both sides get the same features, coordinates, edges and label. Theirs is built by its defaults,
ours by its preset `torchmil` or, where it has none, by `OURS`, the published network; the numbers
of parameters show how far it is the same work. Every figure comes from a process of its own,
which may have `--memory` GB; the least of `--repeats` passes counts, after one to warm up, which
counts where it is alone (0).

`--alone` leaves torchmil out, for bags that it has no room for. With `--mask` it gets what its own
`collate_fn` puts beside the features of every batch in a training, a mask; ours needs none.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import torch

WIDTH = 1024

PEERS = {  # ours: torchmil's class, what it reads beside X, what it must be told
    "abmil": ("ABMIL", "", {}),
    "camil": ("CAMIL", "adj", {"n_landmarks": 256}),
    "clam_sb": ("CLAM_SB", "", {}),
    "deepgraphsurv": ("DeepGraphSurv", "adj", {}),
    "dsmil": ("DSMIL", "", {}),
    "dtfd": ("DTFDMIL", "mask", {}),
    "gtp": ("GTP", "adj", {}),
    "iib_mil": ("IIBMIL", "", {}),
    "patchgcn": ("PatchGCN", "adj", {}),
    "prob_smooth_abmil": ("ProbSmoothABMIL", "adj", {}),
    "setmil": ("SETMIL", "coords", {"use_pmf": True}),
    "sm_abmil": ("SmABMIL", "adj", {}),
    "sm_transformer_abmil": ("SmTransformerABMIL", "adj", {}),
    "smooth_abmil": ("SmoothABMIL", "adj", {}),
    "transformer_abmil": ("TransformerABMIL", "", {}),
    "transformer_prob_smooth_abmil": ("TransformerProbSmoothABMIL", "adj", {}),
    "transmil": ("TransMIL", "", {}),
    "vaeabmil": ("VAEABMIL", "vae", {}),
}

OURS = {"vaeabmil": {"sizes": "128-64"}}


def grid(instances: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return row and column [N, 2] on a grid as square as can be, and the edges [2, E] on it."""
    side = int(instances**0.5)
    place = torch.arange(instances)
    cells = torch.stack([place // side, place % side], 1)
    edges = []
    for down, right in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
        row, column = cells[:, 0] + down, cells[:, 1] + right
        other = row * side + column
        there = (row >= 0) & (column >= 0) & (column < side) & (other < instances)
        edges.append(torch.stack([place[there], other[there]]))
    return cells, torch.cat(edges, 1)


def ours(name: str, instances: int):
    """Return a function that takes one pass of our model, and its number of parameters."""
    from mil.bags import Bag
    from mil.mil_model import MILModel
    from mil.models import MODELS

    preset = "torchmil" if "torchmil" in MODELS.find(name).presets else None
    model = MILModel.build(name, WIDTH, classes=2, preset=preset, **OURS.get(name, {}))
    cells, edges = grid(instances)
    bag = Bag.single(
        features(instances), coords=cells.flip(1), edge_index=edges, label=torch.ones(1)
    )

    def go() -> None:
        model.zero_grad()
        model.of_bag(bag).loss.backward()

    return go, sum(p.numel() for p in model.parameters())


def theirs(name: str, instances: int, masked: bool):
    """Return a function that takes one pass of torchmil's model, and its number of parameters."""
    from tensordict import TensorDict
    from torchmil import models
    from torchmil.data import collate_fn
    from torchmil.nn.variational_autoencoder import VariationalAutoEncoderMIL

    cls, reads, options = PEERS[name]
    if reads == "vae":
        options = {"feat_ext": VariationalAutoEncoderMIL((WIDTH,)), **options}
    model = getattr(models, cls)(in_shape=(WIDTH,), **options)
    cells, edges = grid(instances)
    given = {"X": features(instances).unsqueeze(0), "Y": torch.ones(1)}
    if reads == "adj":
        weight = torch.bincount(edges[0], minlength=instances).float().rsqrt()
        places = torch.cat([torch.zeros_like(edges[:1]), edges.flip(0)])
        weight = weight[edges[0]] * weight[edges[1]]
        shape = (1, instances, instances)
        given["adj"] = torch.sparse_coo_tensor(places, weight, shape).coalesce()
    if reads == "coords":
        given["coords"] = cells.unsqueeze(0)
    if reads == "mask":
        given["mask"] = torch.ones(1, instances, dtype=torch.bool)
    if masked:
        given["mask"] = collate_fn([TensorDict({"X": features(instances)})])["mask"]

    def go() -> None:
        model.zero_grad()
        _, losses = model.compute_loss(**given)
        sum(losses.values()).backward()

    return go, sum(p.numel() for p in model.parameters())


def features(instances: int) -> torch.Tensor:
    """Return features [N, 1024] as of a ResNet: none negative."""
    return torch.randn(instances, WIDTH, generator=torch.Generator().manual_seed(0)).relu()


def measure(
    side: str, name: str, instances: int, repeats: int, masked: bool = False
) -> dict[str, float]:
    """Return the least seconds of a pass, megabytes above what lay there before, parameters."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # What PyTorch loads when a process recomputes for the first time, 150 MB, is no bag's.
    import_module("torch._dynamo")
    if side == "ours":
        go, parameters = ours(name, instances)
    else:
        go, parameters = theirs(name, instances, masked)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is not the model's
    before = resident("VmRSS")
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        go()
        seconds.append(time.process_time() - start)
    return {
        "seconds": min(seconds[1:] or seconds),
        "megabytes": resident("VmHWM") - before,
        "parameters": parameters,
    }


def resident(key: str) -> float:
    """Return memory of this process in MB, as the kernel tells it."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) / 1024


def apart(side: str, name: str, instances: int, options: argparse.Namespace) -> dict[str, float]:
    """Return what a process of its own measures; nothing where it fails, which is said."""
    room = int(options.memory * 2**30)
    command = [sys.executable, __file__, "--only", side, "--models", name]
    command += ["--instances", str(instances), "--repeats", str(options.repeats)]
    command += ["--mask"] if options.mask else []
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (room, room)),
    )
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["killed"])[-1]
        return {"failed": "no memory" if "alloc" in said or "memory" in said else said[:80]}
    return json.loads(run.stdout.splitlines()[-1])


def told(found: dict[str, float]) -> str:
    """Return a measurement in words."""
    if "failed" in found:
        return found["failed"]
    return f"{found['seconds']:.3f} s, {found['megabytes']:,.0f} MB"


def main() -> None:
    """Measure models at all sizes and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(PEERS))
    parser.add_argument("--instances", nargs="+", type=int, default=[1024, 4096, 16384])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--memory", type=float, default=16)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--mask", action="store_true")
    parser.add_argument("--only", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        (name,), (instances,) = options.models, options.instances
        print(json.dumps(measure(options.only, name, instances, options.repeats, options.mask)))
        return
    for name in options.models:
        for instances in options.instances:
            mine = apart("ours", name, instances, options)
            row = f"{name}, {instances:,}: {told(mine)}"
            if not options.alone:
                peer = apart("theirs", name, instances, options)
                row += f"; torchmil {told(peer)}"
                if "failed" not in mine | peer:
                    times = peer["seconds"] / mine["seconds"]
                    less = peer["megabytes"] / max(mine["megabytes"], 1)
                    row += f"; {times:.2f} times as fast, {less:.1f} times less memory"
                    row += f"; parameters {mine['parameters']:,}, {peer['parameters']:,}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
