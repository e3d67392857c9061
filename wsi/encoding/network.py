"""An encoder on its device: from the bytes of patches to rows of features."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from wsi.encoding.preprocess import preprocess
from wsi.weights import load_encoder

log = logging.getLogger(__name__)

SELF_CHECK = 0.999  # least cosine between half and single precision features
COMPILING_PAYS = 100_000  # patches; below, a minute of compiling is not won back


class Network:
    """An encoder ready to run.

    Channels last, batch norms folded; in half precision where that agrees with float32. When
    memory runs out, the batch is halved for good.

    Parameters
    ----------
    weights : file of :func:`wsi.weights.fetch_weights`.
    device : where it runs.
    batch : patches at once; ``auto`` is 16 on a CPU and 256 on a GPU.

    Attributes
    ----------
    encoder : its entry in the registry.
    described : where the weights came from.
    dtype : of the arithmetic.
    """

    def __init__(self, weights: str, device: torch.device, batch: int | str = "auto"):
        self.encoder, network, self.described = load_encoder(weights)
        self.device = device
        self._network = network.to(device, memory_format=torch.channels_last)
        self.batch = (256 if device.type == "cuda" else 16) if batch == "auto" else int(batch)
        self.dtype = torch.float32

    def choose_precision(self, precision: str, sample: Callable[[], np.ndarray]) -> None:
        """Set the precision.

        Parameters
        ----------
        precision : ``float32``, ``float16``, ``bfloat16``, or ``auto``: float32 on a CPU; on a GPU
            the encoder's half precision if its features of `sample` agree with float32.
        sample : returns ``[B, P, P, 3]`` uint8 patches; called if they are needed.
        """
        if precision != "auto":
            self.dtype = getattr(torch, precision)
            return
        if self.device.type == "cpu":
            return
        self._agree_on_half(sample())

    def _agree_on_half(self, sample: np.ndarray) -> None:
        patches = torch.from_numpy(sample)
        single = self(patches)
        self.dtype = getattr(torch, self.encoder.half)
        cosine = torch.cosine_similarity(self(patches), single).min().item()
        if not cosine > SELF_CHECK:
            log.warning(
                "%s differs from float32 (cosine %.5f): using float32", self.encoder.half, cosine
            )
            self.dtype = torch.float32

    def compile(self, patches: Callable[[], int]) -> None:
        """Compile the network where that pays: on a GPU, for so many patches."""
        if self.device.type == "cuda" and patches() >= COMPILING_PAYS:
            self._compile()

    def _compile(self) -> None:
        plain = self._network
        self._network = torch.compile(plain, dynamic=False)
        side = self.encoder.resize or self.encoder.input_size
        try:
            self(torch.zeros(self.batch, side, side, 3, dtype=torch.uint8))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a compiler may miss on a machine: it is not needed
            log.warning("the network is not compiled (%s): %s", type(error).__name__, error)
            self._network = plain

    def __call__(self, patches: Tensor) -> Tensor:
        """Encode ``[B, P, P, 3]`` uint8 patches to ``[B, D]`` float32, on their device."""
        rows = []
        start = 0
        while start < len(patches):
            try:
                rows.append(self._features(patches[start : start + self.batch]))
                start += self.batch
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise
                self.batch //= 2
                torch.cuda.empty_cache()
                log.warning("out of memory: going on with batches of %d", self.batch)
        return torch.cat(rows)

    @torch.inference_mode()
    def _features(self, patches: Tensor) -> Tensor:
        half = self.dtype != torch.float32
        x = preprocess(patches.to(self.device), self.encoder)
        with torch.autocast(self.device.type, self.dtype, enabled=half):
            return self._network(x).float()
