"""A slide that is being encoded, and how fast that goes."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from wsi.outcome import SlideError
from wsi.perturbation import PatchChange, Perturbation
from wsi.progress import Progress
from wsi.storage import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideTask:
    """A slide to encode.

    Parameters
    ----------
    slide_id, slide : name and file.
    patches : its file of fine patches, with outcome ok.
    perturbation : how the pixels of its patches are changed, None for not at all.
    """

    slide_id: str
    slide: str
    patches: str
    perturbation: Perturbation | None = None

    def size(self) -> tuple[int, int]:
        """Return the number of patches and the side of one in pixels."""
        with h5py.File(self.patches, "r") as file:
            return len(file["coords"]), int(file.attrs["size"])

    def change(self) -> PatchChange | None:
        """Return what changes the pixels of its patches."""
        if self.perturbation is None:
            return None
        return self.perturbation.of_slide(self.slide_id, self.size()[0])


@dataclass
class Speed:
    """How fast a slide was encoded, and who waited for whom.

    Parameters
    ----------
    patches : their number.
    seconds : its share of the time that passed.
    waited_for_patches : seconds in which the network waited for the reader.
    waited_for_network : seconds in which patches waited for the network; on a CPU, where each
        thread reads and encodes in turn, the seconds that it encoded.
    device, precision, batch : what encoded.
    """

    patches: int = 0
    seconds: float = 0.0
    waited_for_patches: float = 0.0
    waited_for_network: float = 0.0
    device: str = ""
    precision: str = ""
    batch: int = 0

    def add(self, patches: int, seconds: float, for_patches: float, for_network: float) -> None:
        """Count patches and the time that they took."""
        self.patches += patches
        self.seconds += seconds
        self.waited_for_patches += for_patches
        self.waited_for_network += for_network

    def __str__(self) -> str:
        rate = self.patches / max(self.seconds, 1e-9)
        return (
            f"{self.patches} patches in {self.seconds:.3g} s ({rate:.3g}/s) on {self.device}, "
            f"{self.precision}, batches of {self.batch}; the network waited "
            f"{self.waited_for_patches:.2g} s for patches, "
            f"patches {self.waited_for_network:.2g} s for the network"
        )

    def write(self, path: Path) -> None:
        """Write it as JSON, for the report."""
        write_json(path, asdict(self))


class SlideInHand:
    """The features of one slide, filled in block by block, in any order.

    Parameters
    ----------
    task : the slide.
    total : its number of patches, N.

    Attributes
    ----------
    features : ``[N, D]`` float32.
    unreadable : patches that could not be read.
    error : why the slide cannot be encoded, if so.
    speed : of the patches so far.
    """

    def __init__(self, task: SlideTask, total: int):
        self.task, self.total = task, total
        self.features = np.empty((0, 0), np.float32)
        self.unreadable = 0
        self.error: SlideError | None = None
        if not total:
            self.error = SlideError("no_tissue", f"{task.patches} holds no patch.")
        self.speed = Speed()
        self._progress = Progress(log, f"features of {task.slide_id}", total, "patches")

    def put(self, start: int, rows: np.ndarray, unreadable: int) -> None:
        """Keep the features of the patches from `start` on."""
        if not len(self.features):
            self.features = np.empty((self.total, rows.shape[1]), np.float32)
        self.features[start : start + len(rows)] = rows
        self.unreadable += unreadable

    def add_time(
        self, patches: int, seconds: float, for_patches: float, for_network: float
    ) -> bool:
        """Count the time that patches took; return whether they were the last."""
        self.speed.add(patches, seconds, for_patches, for_network)
        self._progress.at(self.speed.patches)
        return self.speed.patches == self.total
