"""Encoding the fine patches of a slide."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import cv2
import numpy as np
import torch
from torch import nn

from wsi.encoders import Encoder
from wsi.outcome import SlideError, slide_stage
from wsi.preprocess import preprocess
from wsi.progress import Progress
from wsi.reader import Slide
from wsi.scale import CHILDREN, RATIO
from wsi.storage import Outcome, read_h5, sha256_arrays, write_h5
from wsi.weights import load_encoder

log = logging.getLogger(__name__)

MAX_UNREADABLE = 0.01  # share of a slide's patches; more and the slide counts as damaged
PATCH_UNREADABLE = 0.1  # share of a patch's area
SELF_CHECK = 0.999  # least cosine between half and single precision features


@slide_stage(writes=("features",), after="patches")
def extract_features(
    *,
    slide_id: str,
    slide: str,
    patches: str,
    weights: str,
    features: str,
    batch_size: int | str = "auto",
    precision: str = "auto",
    device: str = "auto",
) -> None:
    """Encode the fine patches of one slide, in the order of the patch file.

    Parameters
    ----------
    slide_id, slide : name of the slide and its file.
    patches : fine patches (``coords`` ``[N, 2]``, 16 rows a coarse patch).
    weights : file of :func:`wsi.weights.fetch_weights`; says which encoder.
    features : HDF5 to write: ``features`` ``[N, D]`` float32 contiguous, ``coords`` ``[N, 2]``.
    batch_size : patches at once; ``auto`` is 16 on a CPU and 256 on a GPU, halved when memory runs
        out.
    precision : ``float32``, ``float16``, ``bfloat16`` or ``auto`` (float32 on a CPU, float16 on a
        GPU if 64 patches agree with float32).
    device : ``cpu``, ``cuda`` or ``auto``.

    Raises
    ------
    SlideError
        Kinds ``unreadable`` and ``damaged``.
    """
    arrays, attributes = read_h5(patches)
    encoder, network, described = load_encoder(weights)
    where = torch.device(_choose_device(device))
    if where.type == "cpu":
        torch.set_num_threads(1)  # slides run side by side; also: the same bytes on any machine
    network = network.to(where, memory_format=torch.channels_last)
    size = _choose_batch(batch_size, where)
    with Slide(slide) as opened:
        if attributes["pad"] == "black":
            opened.background = (0, 0, 0)
        reader = PatchReader(opened, arrays["coords"], attributes)
        dtype = _choose_precision(precision, where, network, encoder, reader)
        progress = Progress(log, f"features of {slide_id}", reader.total, "patches")
        # closed before the slide is, whatever happens: a read that is under way must end first
        with closing(_batches(reader, size)) as batches:
            rows = [
                _encode(batch, network, encoder, where, dtype, size, progress, done)
                for done, batch in batches
            ]
        unreadable = reader.unreadable
    encoded = np.concatenate(rows)
    if not np.isfinite(encoded).all():
        raise ArithmeticError(f"{slide_id}: features are not finite; check the encoder's weights.")
    if unreadable > MAX_UNREADABLE * len(encoded):
        raise SlideError(
            "damaged",
            f"{unreadable} of {len(encoded)} patches cannot be read; copy the slide again or "
            "leave it out (exclude).",
        )
    log.info("%d patches, %s, %s", len(encoded), where, dtype)
    kept = ("mpp0", "mpp_source", "width0", "height0", "bounds", "footprint0", "size", "target")
    write_h5(
        features,
        Outcome(slide_id, "extract_features"),
        {"features": encoded, "coords": arrays["coords"]},
        {
            **{name: attributes[name] for name in kept},
            "encoder": encoder.name,
            "weights": described["source"],
            "weights_sha256": described["sha256"],
            "licence": described["licence"],
            "input_size": encoder.input_size,
            "mean": np.array(encoder.mean),
            "std": np.array(encoder.std),
            "precision": str(dtype).removeprefix("torch."),
            "unreadable_patches": unreadable,
            "sha256": sha256_arrays(encoded, arrays["coords"]),
        },
    )


class PatchReader:
    """Reads the 16 children of one coarse patch after another.

    Where children lie on whole pixels of the level read, the 16 are one read; the pixels are the
    same as those of 16 reads.

    Parameters
    ----------
    slide : opened slide.
    coords : ``[N, 2]``, level-0 pixels, 16 rows a coarse patch.
    attributes : of the patch file.
    """

    def __init__(self, slide: Slide, coords: np.ndarray, attributes: dict):
        self.slide, self.coords = slide, coords
        self.level = int(attributes["patch_level"])
        self.read_size = int(attributes["read_size"])
        self.size = int(attributes["size"])
        self.footprint = int(attributes["footprint0"])
        self.unreadable = 0
        factors = slide.downsample(self.level)
        self.one_read = (
            all(
                factor == round(factor) and self.footprint == self.read_size * factor
                for factor in factors
            )
            and not (coords % np.array([round(factor) for factor in factors])).any()
        )

    @property
    def total(self) -> int:
        """Number of patches."""
        return len(self.coords)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the row of the first patch and ``[16, size, size, 3]`` uint8, in file order.

        The next block is read while the caller works on this one.
        """
        starts = range(0, self.total, CHILDREN)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self.block, 0)
            for start in starts:
                block = waiting.result()
                if start + CHILDREN < self.total:
                    waiting = pool.submit(self.block, start + CHILDREN)
                yield start, block

    def block(self, start: int) -> np.ndarray:
        """Return the 16 patches from row `start` on."""
        if self.one_read:
            return self._read_whole(*self.coords[start])
        return np.stack([self._read_one(x, y) for x, y in self.coords[start : start + CHILDREN]])

    def _read_whole(self, x: int, y: int) -> np.ndarray:
        side, n = self.read_size, RATIO
        region, unreadable = self.slide.read(x, y, self.level, n * side, n * side)
        if unreadable:  # find out which patches are hit
            start = int(np.flatnonzero((self.coords == (x, y)).all(axis=1))[0])
            return np.stack([self._read_one(*c) for c in self.coords[start : start + CHILDREN]])
        tiles = region.reshape(n, side, n, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        return np.stack([self._reduced(tile) for tile in tiles])

    def _read_one(self, x: int, y: int) -> np.ndarray:
        patch, unreadable = self.slide.read(x, y, self.level, self.read_size, self.read_size)
        self.unreadable += unreadable > PATCH_UNREADABLE
        return self._reduced(patch)

    def _reduced(self, patch: np.ndarray) -> np.ndarray:
        if patch.shape[0] == self.size:
            return patch
        return cv2.resize(patch, (self.size, self.size), interpolation=cv2.INTER_AREA)


def _batches(reader: PatchReader, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield blocks joined to at least `size` patches, with the row of the first."""
    pending: list[np.ndarray] = []
    first = 0
    for start, block in reader.blocks():
        pending.append(block)
        if len(pending) * CHILDREN >= size or start + CHILDREN >= reader.total:
            yield first, np.concatenate(pending)
            first, pending = start + CHILDREN, []


def _encode(
    patches: np.ndarray,
    network: nn.Module,
    encoder: Encoder,
    where: torch.device,
    dtype: torch.dtype,
    size: int,
    progress: Progress,
    done: int,
) -> np.ndarray:
    rows = []
    start = 0
    while start < len(patches):
        try:
            batch = torch.from_numpy(patches[start : start + size]).to(where)
            rows.append(_features(batch, network, encoder, dtype))
            start += size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            torch.cuda.empty_cache()
            log.warning("out of GPU memory: going on with batches of %d", size)
        progress.at(done + min(start, len(patches)))
    return np.concatenate(rows)


@torch.inference_mode()
def _features(
    patches: torch.Tensor, network: nn.Module, encoder: Encoder, dtype: torch.dtype
) -> np.ndarray:
    half = dtype != torch.float32
    with torch.autocast(patches.device.type, dtype, enabled=half):
        return network(preprocess(patches, encoder)).float().cpu().numpy()


def _choose_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _choose_batch(batch_size: int | str, where: torch.device) -> int:
    if batch_size == "auto":
        return 16 if where.type == "cpu" else 256
    return int(batch_size)


def _choose_precision(
    precision: str, where: torch.device, network: nn.Module, encoder: Encoder, reader: PatchReader
) -> torch.dtype:
    if precision != "auto":
        return getattr(torch, precision)
    if where.type == "cpu":
        return torch.float32
    starts = range(0, reader.total, CHILDREN)[:4]
    sample = torch.from_numpy(np.concatenate([reader.block(s) for s in starts])).to(where)
    reader.unreadable = 0  # these patches are read, and counted, again
    single = _features(sample, network, encoder, torch.float32)
    half = _features(sample, network, encoder, torch.float16)
    norms = np.linalg.norm(single, axis=1) * np.linalg.norm(half, axis=1)
    cosine = float(((single * half).sum(axis=1) / norms).min())
    if cosine > SELF_CHECK:
        return torch.float16
    log.warning("float16 differs from float32 (cosine %.5f): using float32", cosine)
    return torch.float32
