"""Weights of an encoder: found once a run, checked, and kept as one file that every job reads."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from wsi.batch_norms import fold_batch_norms
from wsi.checkpoints import RANDOM_SEED, checked, random_state, read_state, skeleton
from wsi.encoders import Encoder, EncoderError, find_encoder
from wsi.encoders.torchscript import (
    DECLARED,
    TORCHSCRIPT,
    declared_encoder,
    probe,
    read_torchscript,
)
from wsi.published import published_file
from wsi.storage import atomic, sha256_file

log = logging.getLogger(__name__)

OF_WEIGHTS = ("licence", "trained_on", "trained_on_tcga")  # facts of weights, not of networks
WORDS = ("hub", "imagenet", "imagenet-or-random", "random")


def fetch_weights(
    *, encoder: str, weights: str, output: str, declared: Mapping[str, Any] | None = None
) -> None:
    """Find the weights of an encoder and write them as one safetensors file.

    Parameters
    ----------
    encoder : registered name, ``timm:NAME``, or ``torchscript`` for a network of one's own.
    weights : ``hub`` (the published weights, from a cache or downloaded), ``imagenet`` (the same,
        of an encoder that learnt from ImageNet), the path of a file, ``random`` (seeded, for tests
        and timing), or ``imagenet-or-random``.
    output : file to write. Its metadata say where the weights came from; they go into every
        feature file and into the report. The bytes of a TorchScript file are kept as they are.
    declared : what the user says of weights of their own (``trained_on_tcga``, ``trained_on``,
        ``licence``) and, for ``torchscript``, of the network: ``width, input_size, mean, std``, and
        any of ``resize, interpolation, half, mpp``.

    Raises
    ------
    EncoderError
        The weights cannot be had, do not fit, or are random initialisation in disguise. The
        sentence says what to do.
    """
    declared = declared or {}
    found = _encoder(encoder, declared)
    tensors, origin = _find(found, weights)
    if origin["source"].startswith("random:"):
        found = replace(found, trained_on="", trained_on_tcga=False, licence="")
    elif weights not in WORDS and not found.mpp:  # weights of a common network may be anyone's
        found = replace(found, trained_on="", trained_on_tcga=None, licence="")
    said = {key: declared[key] for key in OF_WEIGHTS if declared.get(key) is not None}
    found = replace(found, **said)
    facts = {key: value for key, value in asdict(found).items() if key in DECLARED}
    metadata = {"encoder": encoder, **origin, "facts": facts}
    with atomic(output) as partial:
        described = {"weights": json.dumps(metadata, sort_keys=True)}
        partial.touch()
        mode = partial.stat().st_mode
        safetensors.torch.save_file(tensors, partial, described)
        partial.chmod(mode)  # save_file would hide it from others


def load_encoder(path: str | Path) -> tuple[Encoder, nn.Module, dict[str, str]]:
    """Return an encoder, its network ready to encode, and where its weights came from.

    Parameters
    ----------
    path : file of :func:`fetch_weights`.

    Returns
    -------
    encoder : with what is known of these weights (`licence`, `trained_on_tcga`).
    network : in evaluation mode, batch norms merged into convolutions where that is exact.
    described : ``encoder, source, licence``; ``sha256`` of this file, and ``published_sha256`` of
        the file that it was made from (empty for random weights); ``trained_on_tcga`` is
        ``yes``, ``no`` or ``unknown``.
    """
    with safetensors.safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["weights"])
    tensors = safetensors.torch.load_file(path)
    name, facts = metadata["encoder"], metadata["facts"]
    if TORCHSCRIPT in tensors:
        encoder = declared_encoder(name, facts)
        content = tensors[TORCHSCRIPT].numpy().tobytes()
        network = read_torchscript(content, metadata["source"])
    else:
        encoder = replace(
            find_encoder(name),
            **{key: facts[key] for key in OF_WEIGHTS},
        )
        network = _filled(encoder, tensors)
        fold_batch_norms(network)
    described = {
        "encoder": name,
        "source": metadata["source"],
        "published_sha256": metadata["published_sha256"],
        "sha256": sha256_file(path),
        "licence": encoder.licence,
        "trained_on_tcga": {True: "yes", False: "no", None: "unknown"}[encoder.trained_on_tcga],
    }
    return encoder, network, described


def untrained(
    encoder: str, weights: str = "random", declared: Mapping[str, Any] | None = None
) -> tuple[Encoder, nn.Module]:
    """Return an encoder and its network as it is initialised, for timing.

    Parameters
    ----------
    encoder, weights, declared : as for :func:`fetch_weights`; `weights` is read if the network
        comes with them (TorchScript).
    """
    found = _encoder(encoder, declared or {})
    if found.build is None:
        path = _given(weights)
        return found, read_torchscript(path.read_bytes(), path.name)
    network = found.build().eval()
    fold_batch_norms(network)
    return found, network


def _encoder(name: str, declared: Mapping[str, Any]) -> Encoder:
    return declared_encoder(name, declared) if name == TORCHSCRIPT else find_encoder(name)


def _filled(encoder: Encoder, tensors: dict[str, Tensor]) -> nn.Module:
    """Return the network with its weights; a large one is not initialised first."""
    network = skeleton(encoder)
    network.load_state_dict(tensors, assign=True)
    if any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers())):
        network = encoder.build()  # it has tables that are computed, not stored
        network.load_state_dict(tensors)
    return network.eval()


def _find(encoder: Encoder, weights: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors to keep, and their source and the hash of the file they came in."""
    if encoder.build is None:
        return _torchscript(encoder, weights)
    if weights == "random":
        return _random(encoder)
    if weights in ("imagenet", "imagenet-or-random") and encoder.mpp:
        raise EncoderError(
            f"{encoder.name} learnt from {encoder.trained_on}, not from ImageNet; say weights: hub "
            "for its published weights, or give the path of a file."
        )
    if weights == "imagenet-or-random":
        try:
            return _published(encoder)
        except EncoderError as error:
            log.warning(
                "ImageNet weights cannot be had (%s) The features of this run come from RANDOM "
                "weights: they show that the workflow works, and nothing about pathology.",
                error,
            )
            return _random(encoder)
    if weights in WORDS:
        return _published(encoder)
    path = _given(weights)
    return _checked_file(path, encoder, path.name)


def _published(encoder: Encoder) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = published_file(encoder)
    return _checked_file(path, encoder, f"{encoder.source.removeprefix('package:')}/{path.name}")


def _checked_file(
    path: Path, encoder: Encoder, source: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = checked(read_state(path), encoder, str(path))
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    return tensors, {"source": source, "published_sha256": sha256_file(path)}


def _random(encoder: Encoder) -> tuple[dict[str, Tensor], dict[str, str]]:
    origin = {"source": f"random:{RANDOM_SEED}", "published_sha256": ""}
    return random_state(encoder), origin


def _torchscript(encoder: Encoder, weights: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    if weights in WORDS:
        raise EncoderError(
            f"{encoder.name}: its network comes with its weights, so weights must be the path of a "
            "TorchScript file (docs/encoders.md says how to export one)."
        )
    path = _given(weights)
    content = path.read_bytes()
    probe(read_torchscript(content, path.name), encoder, path.name)
    digest = hashlib.sha256(content).hexdigest()
    kept = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    return {TORCHSCRIPT: kept}, {"source": path.name, "published_sha256": digest}


def _given(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise EncoderError(
            f"features: weights: {weights} is not a file; give the path of the weights, "
            "or hub, imagenet or random."
        )
    return path
