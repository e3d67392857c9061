"""How fast an encoder is on this machine."""

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext

from wsi.preflight.rows import EncoderRow

SECONDS = 3.0  # of work that are timed


def time_encoder(
    *,
    name: str,
    architecture: str,
    weights: str = "random",
    declared: Mapping[str, object] | None = None,
    size: int,
    batch_size: int | str,
    precision: str,
    device: str,
    cores: int,
) -> EncoderRow:
    """Encode random patches with random weights, as a job of the run would, and count them.

    Parameters
    ----------
    name, architecture : of the encoder, in the configuration and among the registered ones.
    weights, declared : of a TorchScript file, as for :func:`wsi.weights.fetch_weights`; others are
        timed with random weights.
    size : side of a patch in pixels.
    batch_size, precision, device : as for :func:`wsi.extract.extract_features`.
    cores : cores that jobs of the run have together.
    """
    import torch

    from wsi.encoding.preprocess import preprocess
    from wsi.weights import untrained

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.device(device)
    on_gpu = where.type == "cuda"
    torch.set_num_threads(1)  # as jobs have it: slides run side by side, each on a core
    encoder, network = untrained(architecture, weights, declared)
    network = network.to(where, memory_format=torch.channels_last)
    if precision == "auto":
        precision = encoder.half if on_gpu else "float32"
    half = precision != "float32"
    cast = torch.autocast(where.type, getattr(torch, precision)) if half else nullcontext()

    @torch.inference_mode()
    def seconds(patches: int) -> float:
        batch = torch.randint(0, 256, (patches, size, size, 3), dtype=torch.uint8)
        start = time.perf_counter()
        with cast:
            network(preprocess(batch.to(where), encoder)).float().cpu()  # waits for a GPU
        return time.perf_counter() - start

    seconds(1)  # the first call prepares kernels
    full = (256 if on_gpu else 16) if batch_size == "auto" else int(batch_size)
    batch = int(min(full, max(1.0, SECONDS / seconds(1))))  # large encoders are slow on a CPU
    seconds(batch if on_gpu else 1)
    done, spent = 0, 0.0
    while spent < SECONDS:
        spent += seconds(batch)
        done += batch
    machine = torch.cuda.get_device_name(where) if on_gpu else f"1 of {os.cpu_count()} CPU threads"
    return EncoderRow(
        *(name, architecture, encoder.width, where.type, machine), round(done / spent, 2), cores
    )
