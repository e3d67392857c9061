"""Patches encoded a second, from slide files to feature files: `python benchmarks/extraction.py`.

The same slides and weights, in one run, in turns; the median of the rounds counts:

- ours: jobs as the workflow runs them, imports and loading of weights not counted;
- CLAM-like, as specification wsi 4 and 6.1 describe CLAM's loop: the coordinate file is opened for
  each patch, read by OpenSlide, resized and converted by Pillow and torchvision, loaded by worker
  processes; float32, channels first, batch norms unfolded; rows appended to a file;
- forward: the network alone, on normalised batches that lie in memory;
- reading: our readers alone.

`--null` puts a network that does nothing in place of the encoder: all but the network is timed.
On a GPU: `python benchmarks/extraction.py --device cuda --patches 60000 --threads 15`, the same
with `--encoder uni`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import h5py
import openslide
import safetensors.torch
import torch
from PIL import Image
from synthetic_slide import write_slide
from torch import nn
from torch.utils.data import DataLoader, Dataset

from wsi import extract
from wsi.encoding.batches import PatchBatches, _Plan, _processes
from wsi.encoding.in_hand import SlideTask
from wsi.encoding.network import Network
from wsi.encoding.patch_reader import PatchReader
from wsi.encoding.preprocess import preprocess
from wsi.jobs import prepare_environment
from wsi.patches import make_patches
from wsi.tissue import find_tissue
from wsi.weights import fetch_weights, load_encoder

SIZE = 256
SCALE = {"by": "mpp", "coarse": 4.0, "fine": 1.0}
LAYING = {
    "size": SIZE,
    "step": None,
    "grid": "slide",
    "rule": "fraction",
    "min_tissue": 0.25,
    "padding": True,
    "pad": "background",
}
TISSUE = {"preset": "default", "close_um": 30, "min_area_mm2": 0.05, "min_hole_mm2": 0.02}


class Null(nn.Module):
    """An encoder that does next to nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[B, 3]``: one pixel."""
        return x[:, :, 0, 0]


def make_slides(folder: Path, slides: int, patches: int) -> list[SlideTask]:
    """Make slides of tissue all over at 1 um/px, and lay patches by the stages of the workflow."""
    coarse = max(1, round((patches / slides / 16) ** 0.5))
    tasks = []
    for number in range(slides):
        name = f"S{number}"
        path = folder / f"{name}.tiff"
        write_slide(path, 1024 * coarse, 1024 * coarse, mpp=1.0, downsamples=(1, 4, 16))
        own = {"slide_id": name, "slide": str(path)}
        tissue, thumbnail = folder / f"{name}.geojson", folder / f"{name}.jpg"
        find_tissue(
            **own, tissue=str(tissue), thumbnail=str(thumbnail), parameters=TISSUE, scale_by="mpp",
            mpp=None, given=None,
        )  # fmt: skip
        level1 = folder / "level1" / f"{name}.h5"
        outcome = make_patches(
            **own, tissue=str(tissue), thumbnail=str(thumbnail), scale=SCALE, patches=LAYING,
            level2=str(folder / "level2" / f"{name}.h5"), level1=str(level1),
            picture=str(folder / f"{name}.grid.jpg"), drop=[], given=None,
        )  # fmt: skip
        assert outcome.ok, outcome
        tasks.append(SlideTask(name, str(path), str(level1)))
    return tasks


class ClamLike(Dataset):
    """A patch an item; the coordinate file is opened for each."""

    def __init__(self, task: SlideTask, input_size: int, mean: tuple, std: tuple):
        from torchvision import transforms

        self.task, self.slide = task, None
        self.transform = transforms.Compose(
            [
                transforms.Resize(input_size, transforms.InterpolationMode.BILINEAR),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return self.task.size()[0]

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.slide is None:
            self.slide = openslide.OpenSlide(self.task.slide)
        with h5py.File(self.task.patches) as file:
            x, y = file["coords"][index]
        patch: Image.Image = self.slide.read_region((int(x), int(y)), 0, (SIZE, SIZE))
        return self.transform(patch.convert("RGB"))


class Contest:
    """Everything that the rounds share."""

    def __init__(self, folder: Path, tasks: list[SlideTask], arguments: argparse.Namespace):
        self.folder, self.tasks, self.threads = folder, tasks, arguments.threads
        self.device = torch.device(arguments.device)
        self.weights = str(folder / "encoder.safetensors")
        fetch_weights(encoder=arguments.encoder, weights="random", output=self.weights)
        self.null, self.batch = arguments.null, arguments.batch
        self.total = sum(task.size()[0] for task in tasks)
        self.rounds = 0
        self.network = self.make_network()
        self.plain = self.make_plain()

    def make_network(self) -> Network:
        """Return our network, ready."""
        network = Network(self.weights, self.device, self.batch)
        if self.null:
            network._network = Null()
        sample = extract._sample(self.tasks[0])
        network.choose_precision("auto", lambda: sample)
        network(torch.from_numpy(sample))
        return network

    def make_plain(self) -> nn.Module:
        """Return the network as it is published: unfolded, channels first, float32."""
        if self.null:
            return Null()
        encoder = load_encoder(self.weights)[0]
        network = encoder.build().eval()
        network.load_state_dict(safetensors.torch.load_file(self.weights))
        return network.to(self.device)

    def ours(self) -> None:
        """Run one job for all slides, and the jobs that find their features."""
        self.rounds += 1
        features = self.folder / f"ours{self.rounds}"
        with patch("wsi.encoding.network.Network", return_value=self.network):  # loaded already
            for task in self.tasks:
                outcome = extract.extract_features(
                    slide_id=task.slide_id,
                    slide=task.slide,
                    patches=task.patches,
                    weights=self.weights,
                    features=str(features / f"{task.slide_id}.h5"),
                    device=self.device.type,
                    threads=self.threads,
                    ahead=len(self.tasks),
                    slides={task.slide_id: task.slide for task in self.tasks},
                )
                assert outcome.ok

    @torch.inference_mode()
    def clam_like(self) -> None:
        """Load patch by patch in worker processes, encode, append."""
        torch.set_num_threads(self.threads if self.device.type == "cpu" else 1)
        encoder = self.network.encoder
        for task in self.tasks:
            data = ClamLike(task, encoder.input_size, encoder.mean, encoder.std)
            on_gpu = self.device.type == "cuda"
            batch = 256 if on_gpu else 32
            loader = DataLoader(data, batch, num_workers=self.threads, pin_memory=on_gpu)
            path = self.folder / f"{task.slide_id}.clam.h5"
            path.unlink(missing_ok=True)
            for patches in loader:
                rows = self.plain(patches.to(self.device, non_blocking=True)).cpu().numpy()
                with h5py.File(path, "a") as file:
                    if "features" not in file:
                        width = rows.shape[1]
                        shape = {"maxshape": (None, width), "chunks": (1, width)}
                        file.create_dataset("features", data=rows, **shape)
                        continue
                    file["features"].resize(len(file["features"]) + len(rows), axis=0)
                    file["features"][-len(rows) :] = rows

    @torch.inference_mode()
    def forward(self) -> None:
        """Encode as many patches as there are, of a batch that lies where the network is."""
        torch.set_num_threads(1)
        network = self.network
        size = network.batch
        patches = torch.from_numpy(extract._sample(self.tasks[0]))[:size].to(self.device)
        patches = patches.repeat(-(-size // len(patches)), 1, 1, 1)[:size]
        x = preprocess(patches, network.encoder)
        half = network.dtype != torch.float32

        @torch.inference_mode()
        def run(batches: int) -> None:
            with torch.autocast(self.device.type, network.dtype, enabled=half):
                for _ in range(batches):
                    network._network(x).float()

        if self.device.type == "cuda":
            run(round(self.total / size))
            torch.cuda.synchronize()
            return
        with ThreadPoolExecutor(self.threads) as pool:
            batches, more = divmod(self.total // size, self.threads)
            list(pool.map(run, [batches + (thread < more) for thread in range(self.threads)]))

    def reading(self) -> None:
        """Read all patches as the engine of the device does, and drop them."""
        if self.device.type == "cuda":
            plan = _Plan(self.tasks, self.network.batch)
            settings = _processes(self.threads, self.network.batch * SIZE * SIZE * 3)
            for _ in DataLoader(
                PatchBatches(), batch_size=None, sampler=plan, pin_memory=True, **settings
            ):
                pass
            return
        for task in self.tasks:
            reader = PatchReader.open(task.slide, task.patches)
            with ThreadPoolExecutor(self.threads) as pool:
                for _ in pool.map(reader.block, range(0, len(reader.coords), 16)):
                    pass
            reader.close()


def start_as_a_job() -> None:
    """Start again in the environment that jobs of the workflow have."""
    if "MALLOC_MMAP_MAX_" not in os.environ:
        prepare_environment(str(Path(__file__).resolve().parents[1]))
        os.execv(sys.executable, [sys.executable, *sys.argv])


def main() -> None:
    """Make slides, let all run in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--encoder", default="resnet50", help="its weights are random")
    parser.add_argument("--null", action="store_true", help="no network")
    parser.add_argument("--patches", type=int, default=0, help="in all; 0: 500, with --null 8000")
    parser.add_argument("--slides", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    start_as_a_job()
    patches = arguments.patches or (8000 if arguments.null else 500)
    with tempfile.TemporaryDirectory() as name:
        tasks = make_slides(Path(name), arguments.slides, patches)
        contest = Contest(Path(name), tasks, arguments)
        hows = ("ours", "clam_like", "forward", "reading")
        rates: dict[str, list[float]] = {how: [] for how in hows}
        for how in hows * (arguments.rounds + 1):  # the first round warms up and does not count
            start = time.perf_counter()
            getattr(contest, how)()
            rates[how].append(contest.total / (time.perf_counter() - start))
    median = {how: statistics.median(rate[1:]) for how, rate in rates.items()}
    gpu = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    encoder = "no network" if arguments.null else arguments.encoder
    print(
        f"{contest.total} patches of {SIZE} px on {len(tasks)} slides, {encoder}, {gpu}, "
        f"{arguments.threads} threads, batches of {contest.network.batch}, "
        f"{str(contest.network.dtype).removeprefix('torch.')}"
    )
    for how in hows:
        ratios = [a / b for a, b in zip(rates["ours"][1:], rates[how][1:], strict=True)]
        print(
            f"{how:>10} {median[how]:10.1f} patches/s; ours is "
            f"{statistics.median(ratios):.3f} times as fast"
        )
    if arguments.device == "cuda":
        bound = min(median["forward"], median["reading"])
        print(f"ours / the smaller of forward and reading: {median['ours'] / bound:.3f}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rates, indent=1))


if __name__ == "__main__":
    main()
