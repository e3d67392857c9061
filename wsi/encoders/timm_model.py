"""Any model of timm by its name, e.g. ``timm:vit_small_patch16_224.augreg_in21k``."""

import difflib
from functools import lru_cache

import torch
from torch import nn

from wsi.encoders.encoder import Encoder, EncoderError

PREFIX = "timm:"


@lru_cache
def timm_encoder(name: str) -> Encoder:
    """Return a model of timm as an encoder: input, normalisation and licence as timm has them.

    Parameters
    ----------
    name : ``timm:`` and what ``timm.create_model`` takes, with or without the tag of the weights.

    Raises
    ------
    EncoderError
        timm has no such model, or it gives no vector a patch.
    """
    import timm  # here, since it takes seconds
    from timm.models import get_pretrained_cfg

    model = name.removeprefix(PREFIX)
    try:
        published = timm.is_model(model) and get_pretrained_cfg(model)
    except RuntimeError:
        published = None  # a tag that it does not have
    if not published:
        near = difflib.get_close_matches(model, timm.list_models(pretrained=True), n=1)
        hint = f"did you mean {PREFIX}{near[0]}?" if near else "timm.list_models() lists them."
        raise EncoderError(f"timm {timm.__version__} has no model {model!r}; {hint}")

    def build() -> nn.Module:
        return timm.create_model(model, pretrained=False, num_classes=0)

    size = published.input_size[-1]
    with torch.device("meta"):  # shapes without arithmetic
        network = build().eval()
    found = network(torch.empty(1, 3, size, size, device="meta"))
    if found.ndim != 2:
        raise EncoderError(
            f"{name} gives an array of shape {tuple(found.shape)} and not a vector a patch; "
            "choose another model, or export it with a pooling of your own as TorchScript."
        )
    convolutional = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    return Encoder(
        name=name,
        build=build,
        width=found.shape[1],
        input_size=size,
        mean=tuple(published.mean),
        std=tuple(published.std),
        interpolation="bicubic" if published.interpolation == "bicubic" else "bilinear",
        half="float16" if convolutional else "bfloat16",
        pooling="timm's own",
        trained_on=f"natural images (timm's weights {published.tag or 'without a tag'})",
        trained_on_tcga=False,
        licence=published.license or "",
        source=published.hf_hub_id or published.url or "",
    )
