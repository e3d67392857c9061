"""DINOv2 checkpoints in timm's names, whether published by ``transformers`` or by DINOv2's code.

Beside names three things differ. ``transformers`` keeps query, key and value apart, timm stacks
them in this order. Both others add a position to the class token, timm (without one, as with
registers: ``no_embed_class``) has it added already. The mask token served training only.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsi.encoders.encoder import keep_known

TRANSFORMERS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.", r"blocks.\1.attn."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.mlp\.weights_in\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.mlp\.weights_out\.", r"blocks.\1.mlp.fc2."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
)
DINOV2 = (
    (r"^register_tokens$", "reg_token"),
    (r"^blocks\.(\d+)\.mlp\.w12\.", r"blocks.\1.mlp.fc1."),
    (r"^blocks\.(\d+)\.mlp\.w3\.", r"blocks.\1.mlp.fc2."),
)
QKV = ("query", "key", "value")


def to_timm(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return a state dict for timm's vision transformer.

    Parameters
    ----------
    state : published: ``transformers``' (``embeddings.cls_token``, ``encoder.layer.0...``),
        DINOv2's (``cls_token``, ``register_tokens``, ``blocks.0...``) or timm's own.
    network : timm's vision transformer of the same size.
    """
    rules = TRANSFORMERS if "embeddings.cls_token" in state else DINOV2
    renamed = {_renamed(name, rules): value for name, value in state.items()}
    for name in [name for name in renamed if name.endswith(".attn.query.weight")]:
        stem = name.removesuffix("query.weight")
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"{stem}{part}.{kind}", None) for part in QKV]
            if all(part is not None for part in parts):  # else the check of the weights tells it
                renamed[f"{stem}qkv.{kind}"] = torch.cat(parts)
    positions, wanted = renamed.get("pos_embed"), network.state_dict().get("pos_embed")
    if positions is not None and wanted is not None and "cls_token" in renamed:
        if positions.shape[1] == wanted.shape[1] + 1:
            renamed["cls_token"] = renamed["cls_token"] + positions[:, :1]
            renamed["pos_embed"] = positions[:, 1:]
    return keep_known(renamed, network)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        renamed, changed = re.subn(pattern, replacement, name)
        if changed:
            return renamed
    return name
