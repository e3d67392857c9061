"""Encoding the fine patches of a slide."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsi.digest import code_digest
from wsi.encoding.ahead import Ahead
from wsi.encoding.in_hand import SlideInHand, SlideTask
from wsi.outcome import SlideError, slide_stage
from wsi.perturbation import Perturbation
from wsi.scale import CHILDREN
from wsi.storage import Outcome, read_h5, sha256_arrays, sha256_file, write_h5

if TYPE_CHECKING:
    from wsi.encoding.network import Network

log = logging.getLogger(__name__)

MAX_UNREADABLE = 0.01  # share of a slide's patches; more and the slide counts as damaged
SAMPLE = 64  # patches on which half precision is tried
AHEAD_ON_GPU = 31  # further slides of a job, but for a cluster's; on a CPU each has its own core


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
    threads: int = 1,
    ahead: int | str = 0,
    slides: Mapping[str, str] | None = None,
    together: int = 0,
    alone: bool = False,
    speeds: str = "",
    perturbation: Mapping[str, object] | None = None,
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
    precision : ``float32``, ``float16``, ``bfloat16`` or ``auto`` (float32 on a CPU, half on a GPU
        if 64 patches agree with float32).
    device : ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
    threads : cores to use; beside a GPU, processes that read.
    ahead : how many further slides to encode when their patches are ready, see
        :mod:`wsi.encoding.ahead`; ``auto`` is 31 on a GPU, or all that are `together`, and 0 on a
        CPU.
    slides : all slides, ``{slide id: file}``; their patches lie beside `patches`.
    together : how many slides share a job of a cluster, counted from the first of `slides`; only
        these are encoded ahead, so that such a job does its own share and no other's. 0: all.
    alone : encode no further slide: the last attempt ended in a crash, perhaps another slide's.
    speeds : folder for a JSON file a slide that says how fast it was encoded.
    perturbation : ``kind, level, seed`` of a change to the pixels of every patch, see
        :mod:`wsi.perturbation`; None to encode them as they are.

    Raises
    ------
    SlideError
        Kinds ``unreadable`` and ``damaged``.
    """
    own = SlideTask(slide_id, slide, patches, Perturbation.of(perturbation))
    settings = {"precision": precision, "device": device, "perturbation": perturbation}
    store = Ahead(
        Path(features).parent,
        lambda: settings | {"weights": sha256_file(weights), "code": code_digest(__name__)},
    )
    if store.take(own, features):
        log.info("encoded ahead, by the job of another slide")
        return

    from wsi.encoding.device import one_device  # here: PyTorch takes two seconds
    from wsi.encoding.network import Network

    with one_device(device) as where, store:
        if store.take(own, features):
            log.info("encoded ahead while this job waited for a GPU")
            return
        if ahead == "auto":
            ahead = (together or AHEAD_ON_GPU) if where.type == "cuda" else 0
        others = _others(own, {} if alone else slides or {}, together)
        network = Network(weights, where, batch_size)
        network.choose_precision(precision, lambda: _sample(own))
        ready = islice((task for task in others if store.is_wanted(task)), int(ahead))
        network.compile(lambda: sum(task.size()[0] for task in (own, *ready)))
        job = _Job(own, Path(features), store, network, Path(speeds) if speeds else None)
        job.run(_tasks(own, store, others, int(ahead)), threads)
        if not job.own_is_done:
            store.claim(own, wait=True)  # another job is at it, or was and has been killed
            if store.take(own, features):
                log.info("encoded ahead, by a job that was at it")
                return
            job.run([own], threads)
    if job.error is not None:
        raise job.error


def _others(own: SlideTask, slides: Mapping[str, str], together: int) -> list[SlideTask]:
    """Return the other slides (of the own share of the table), those after the own one first."""
    folder, names = Path(own.patches).parent, list(slides)
    if together and own.slide_id in slides:
        first = names.index(own.slide_id) // together * together
        names = names[first : first + together]
    after = names.index(own.slide_id) + 1 if own.slide_id in names else 0
    return [
        SlideTask(name, slides[name], str(folder / f"{name}.h5"), own.perturbation)
        for name in (*names[after:], *names[:after])
        if name != own.slide_id
    ]


def _tasks(
    own: SlideTask, store: Ahead, others: Iterable[SlideTask], most: int
) -> Iterator[SlideTask]:
    if store.claim(own):
        yield own
    yield from store.others(others, most)


def _sample(task: SlideTask) -> np.ndarray:
    """Return the first patches of a slide, at most ``[64, P, P, 3]``."""
    from wsi.encoding.patch_reader import PatchReader

    reader = PatchReader.open(task.slide, task.patches, task.change())
    try:
        starts = range(0, len(reader.coords), CHILDREN)[: SAMPLE // CHILDREN]
        return np.concatenate([reader.block(start)[0] for start in starts])
    finally:
        reader.close()


class _Job:
    """Encodes slides and writes their files, each while the next is encoded.

    Attributes
    ----------
    own_is_done : whether the slide that the job is for has been encoded, or has failed.
    error : why it has failed, if so.
    """

    def __init__(
        self,
        own: SlideTask,
        features: Path,
        store: Ahead,
        network: "Network",
        speeds: Path | None,
    ):
        self.own, self.features, self.store, self.network = own, features, store, network
        self.speeds = speeds
        self.own_is_done = False
        self.error: SlideError | None = None

    def run(self, tasks: Iterable[SlideTask], threads: int) -> None:
        with ThreadPoolExecutor(1) as writer:
            before: Future | None = None
            for slide in self._encoded(tasks, threads):
                if before is not None:
                    before.result()  # raises what went wrong; also, one slide at most waits for it
                before = writer.submit(self._finish, slide)
            if before is not None:
                before.result()

    def _encoded(self, tasks: Iterable[SlideTask], threads: int) -> Iterator[SlideInHand]:
        if self.network.device.type == "cpu":
            from wsi.encoding.threads import encode_in_threads

            return encode_in_threads(tasks, self.network, threads)
        from wsi.encoding.batches import encode_in_batches

        return encode_in_batches(tasks, self.network, threads, self.own.size()[1])

    def _finish(self, slide: SlideInHand) -> None:
        """Write the file of a slide, or keep why there is none."""
        is_own = slide.task == self.own
        error = slide.error or _damage(slide)
        if error is None:
            if is_own:
                self._write(slide, self.features)
                self.store.clear(slide.task)
            else:
                self.store.unseal(slide.task)
                self._write(slide, self.store.path(slide.task))
                self.store.seal(slide.task)
        elif not is_own:
            log.warning("slide %s is left to its own job: %s", slide.task.slide_id, error)
        if is_own:
            self.own_is_done, self.error = True, error
        self.store.release(slide.task)

    def _write(self, slide: SlideInHand, path: Path) -> None:
        encoder, described = self.network.encoder, self.network.described
        name, features = slide.task.slide_id, slide.features
        if not np.isfinite(features).all():
            raise ArithmeticError(f"{name}: features are not finite; check the encoder's weights.")
        arrays, attributes = read_h5(slide.task.patches)
        kept = ("mpp0", "mpp_source", "width0", "height0", "bounds", "footprint0", "size", "target")
        changed = self.own.perturbation
        precision = str(self.network.dtype).removeprefix("torch.")
        write_h5(
            path,
            Outcome(name, "extract_features"),
            {"features": features, "coords": arrays["coords"]},
            {
                **{attribute: attributes[attribute] for attribute in kept},
                **({} if changed is None else {"perturbation": changed.name}),
                "encoder": encoder.name,
                "weights": described["source"],
                "weights_sha256": described["sha256"],
                "published_sha256": described["published_sha256"],
                "licence": described["licence"],
                "trained_on_tcga": described["trained_on_tcga"],
                "input_size": encoder.input_size,
                "mean": np.array(encoder.mean),
                "std": np.array(encoder.std),
                "precision": precision,
                "unreadable_patches": slide.unreadable,
                "regions": True,
                "made_by": self.store.made_by(),
                "sha256": sha256_arrays(features, arrays["coords"]),
            },
        )
        speed = slide.speed
        speed.device, speed.precision = str(self.network.device), precision
        speed.batch = self.network.batch
        log.info("%s: %s", name, speed)
        if self.speeds is not None:
            speed.write(self.speeds / f"{name}.json")


def _damage(slide: SlideInHand) -> SlideError | None:
    if slide.unreadable <= MAX_UNREADABLE * slide.total:
        return None
    return SlideError(
        "damaged",
        f"{slide.unreadable} of {slide.total} patches cannot be read; copy the slide again or "
        "leave it out (exclude).",
    )
