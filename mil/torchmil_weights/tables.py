"""What torchmil 1.0.2 calls the parameters of our models.

A model more is an entry of ``TABLES``, a reader in ``mil.torchmil_weights.shapes``, and a preset
``torchmil`` of the model itself; or a sentence in ``REFUSED``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mil.imported_weights import Parameters
from mil.torchmil_weights import shapes
from mil.torchmil_weights.shapes import STACK, Given, Told


@dataclass(frozen=True)
class Table:
    """How the weights of one of torchmil's models become ours.

    Attributes
    ----------
    read : reader of what names and shapes tell of the model.
    layers : beginnings of names, ours to theirs, of which the longest counts; ``{}`` is a number,
        the same in both, and what follows is too. Of several names for one the first that is in
        the file counts. Several of ours may be parts of one of theirs, in the order of ours.
    head : theirs, the linear layer that the head has.
    absent : our parameters that torchmil has not, and what makes a value of ours that changes
        nothing.
    joined : theirs that ours are parts of, and the axis along which they lie.
    shaped : theirs of another shape than ours, and that shape.
    unread : parameters of theirs that the outputs of its bags do not depend on.
    head_options : of the head, by which it does what torchmil does.
    differs : sentences on where predictions are others than torchmil's, for the user.
    """

    read: Callable[[Parameters, Given], Told]
    layers: Mapping[str, str | tuple[str, ...]]
    head: str = "classifier.module"
    absent: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    joined: Mapping[str, int] = field(default_factory=dict)
    shaped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    head_options: Mapping[str, Any] = field(default_factory=dict)
    differs: str = ""


def _eye_like(weight: Tensor) -> Tensor:
    return torch.eye(len(weight), dtype=weight.dtype)


# Layers that several models have.

_ATTENTION = {
    "pool.direction.0": "pool.fc1.module",
    "pool.gate.0": "pool.fc_gated.module",
    "pool.score.weight": "pool.fc2.weight",
}
_NO_BIAS = {"pool.score.bias": torch.zeros_like}  # the softmax would not see it
_SMOOTH_ATTENTION = {
    "pool.smooth.logit": "pool.sm.sm.coef",
    "pool.hidden": "pool.proj1",
    "pool.bias": "pool.proj1.bias",
    "pool.score": "pool.proj2",
}
_RANDOM_ATTENTION = {
    "pool.hidden.0": "pool.in_mlp.0.module",
    "pool.hidden.2": "pool.in_mlp.2",
    "pool.mean": "pool.mu_f_nn",
    "pool.log_variance": "pool.log_diag_Sigma_nn",
}
_TRANSFORMER = {
    "encoder.layers.{}.enter": f"{STACK}.{{}}.att_proj",
    "encoder.layers.{}.norm": f"{STACK}.{{}}.norm1",
    "encoder.layers.{}.attention.qkv": f"{STACK}.{{}}.att_module.qkv_nn",
    "encoder.layers.{}.mlp.0": f"{STACK}.{{}}.norm2",
    "encoder.layers.{}.mlp.1": f"{STACK}.{{}}.mlp_module.0",
    "encoder.layers.{}.mlp.4": f"{STACK}.{{}}.mlp_module.3",
    "encoder.layers.{}.leave": f"{STACK}.{{}}.out_proj",
    "encoder.norm": "transformer_encoder.norm",
}
_NORM_OF_NO_MLP = (f"{STACK}.{{}}.norm2",)

TABLES = {
    "abmil": Table(shapes.abmil, _ATTENTION, absent=_NO_BIAS),
    "camil": Table(
        shapes.camil,
        {
            "embed.0": "fc1",
            "norm": "nystrom_transformer_layer.norm1",
            "attention.qkv": "nystrom_transformer_layer.att_module.qkv_nn",
            "query.weight": "camil_self_attention.qk_nn.weight",
            "key.weight": "camil_self_attention.qk_nn.weight",
            "value": "camil_self_attention.v_nn",
            "pool.direction.0": "camil_att_pool.fc1",
            "pool.gate.0": "camil_att_pool.fc_gated",
            "pool.score": "camil_att_pool.fc2",
        },
        head="classifier",
        absent={"value.bias": torch.zeros_like, **_NO_BIAS},
        joined={"camil_self_attention.qk_nn": 0},
        unread=("nystrom_transformer_layer.norm2",),
        differs="torchmil's values are of what the attention gives, here they are of the instances "
        "as in the article: scores are the same, predictions are others. Take the weights as a "
        "start of a training.",
    ),
    "clam_sb": Table(
        shapes.abmil,
        {**_ATTENTION, "instance_heads.{}": "inst_classifiers.{}.module"},
        absent=_NO_BIAS,
        differs="the instance classifiers learnt from a loss that was wrong (it compared every "
        "instance with the targets of all): bags are as in torchmil, instance_logits are not to "
        "be trusted before more training.",
    ),
    "deepgraphsurv": Table(
        shapes.deepgraphsurv,
        {
            "representation.convs.{}.weights.{}": "layers_rep.{}.fc",
            "attention.convs.{}.weights.{}": "layers_att.{}.fc",
            "score": "proj1d.module",
        },
        absent={
            "representation.convs.{}.bias": torch.zeros_like,
            "attention.convs.{}.bias": torch.zeros_like,
        },
        joined={"layers_rep.{}.fc": 1, "layers_att.{}.fc": 1},
        differs="torchmil's convolution mixes features of different nodes, so its weights learnt "
        "something that no Chebyshev convolution is: predictions are others, but for bags of one "
        "instance. Take them as a start of a training, not as a trained network.",
    ),
    "dsmil": Table(
        shapes.dsmil,
        {
            "classify": "inst_classifier",
            "query": "q_nn",
            "query.0": ("q_nn.0", "q_nn"),
            "value": "v_nn",
        },
        head="bag_classifier",
        differs="the outputs are those of torchmil's forward, the bag stream; its predict and "
        "compute_loss return the mean of them and the highest instance logit. Where it was given "
        "several bags together, padding could be the highest instance.",
    ),
    "dtfd": Table(
        shapes.dtfd,
        {
            "first.direction.0": "attention_pool.fc1.module",
            "first.gate.0": "attention_pool.fc_gated.module",
            "first.score.weight": "attention_pool.fc2.weight",
            "classify": "classifier.module",
            "second.direction.0": "u_attention_pool.fc1.module",
            "second.gate.0": "u_attention_pool.fc_gated.module",
            "second.score.weight": "u_attention_pool.fc2.weight",
        },
        head="u_classifier.module",
        absent={"first.score.bias": torch.zeros_like, "second.score.bias": torch.zeros_like},
        differs="torchmil deals instances out anew at every call, and passes on every one to its "
        "second tier (distill_mode max and maxmin), here the highest and lowest: predictions are "
        "others.",
    ),
    "gtp": Table(
        shapes.gtp,
        {
            "token": "cls_token",
            "embed": "gcn_conv.fc.module",
            "bias": "gcn_conv.fc.module.bias",
            "assign": "cluster_proj",
            "blocks.{}.enter": f"{STACK}.{{}}.in_proj",
            "blocks.{}.norm1": f"{STACK}.{{}}.norm1",
            "blocks.{}.qkv": f"{STACK}.{{}}.att_module.qkv_nn",
            "blocks.{}.norm2": f"{STACK}.{{}}.norm2",
            "blocks.{}.first": f"{STACK}.{{}}.mlp_module.0",
            "blocks.{}.second": f"{STACK}.{{}}.mlp_module.3",
            "blocks.{}.leave": f"{STACK}.{{}}.out_proj",
            "norm": "transformer_encoder.norm",
        },
        head="classifier",
        absent={"blocks.{}.project.weight": _eye_like, "blocks.{}.project.bias": torch.zeros_like},
    ),
    "iib_mil": Table(
        shapes.iib_mil,
        {
            "queries": "cls_token",
            "stages.layers.{}.enter": "encoder.layers.{}.att_proj",
            "stages.layers.{}.norm": "encoder.layers.{}.norm1",
            "stages.layers.{}.attention.qkv": "encoder.layers.{}.att_module.qkv_nn",
            "stages.layers.{}.mlp.0": "encoder.layers.{}.norm2",
            "stages.layers.{}.mlp.1": "encoder.layers.{}.mlp_module.0",
            "stages.layers.{}.mlp.4": "encoder.layers.{}.mlp_module.3",
            "stages.norm": "encoder.norm",
            "decoder.{}.before": "decoder.layers.{}.norm1",
            "decoder.{}.qkv": "decoder.layers.{}.att_module.qkv_nn",
            "decoder.0.after": "decoder.norm",
        },
        head="bag_classifier",
        absent={
            "classify.0.weight": torch.ones_like,
            "classify.0.bias": torch.zeros_like,
            "classify.1": torch.zeros_like,
            "labels.prototypes": torch.zeros_like,
        },
        shaped={"cls_token": (1, 1, -1)},
        unread=("feat_proj", "decoder.layers.{}.norm2", "inst_classifier", "prototypes"),
        differs="bags are as in torchmil; its instance classifier and prototypes are left out, for "
        "they learnt labels that were wrong (the highest logits made the prototype of class 0, or "
        "none was ever made). instance_logits are 0 before more training.",
    ),
    "patchgcn": Table(
        shapes.patchgcn,
        {
            **_ATTENTION,
            "convs.{}.linear": "gcn_layers.{}.conv.fc.module",
            "norms.{}": "gcn_layers.{}.norm",
            "phi.0": "mlp.0.0.module",
        },
        absent=_NO_BIAS,
    ),
    "prob_smooth_abmil": Table(
        shapes.prob_smooth_abmil,
        _RANDOM_ATTENTION,
        head_options={"average": "logit"},
        differs="torchmil draws its attention anew at every call, here draws are always the same.",
    ),
    "sm_abmil": Table(
        shapes.sm_abmil,
        _SMOOTH_ATTENTION,
        head="last_layer",
    ),
    "sm_transformer_abmil": Table(
        shapes.sm_transformer_abmil,
        {
            **_TRANSFORMER,
            **_SMOOTH_ATTENTION,
            "smooth.{}.logit": f"{STACK}.{{}}.att_module.sm.sm.coef",
        },
        head="last_layer",
        unread=_NORM_OF_NO_MLP,
    ),
    "smooth_abmil": Table(shapes.prob_smooth_abmil, _RANDOM_ATTENTION),
    "transformer_abmil": Table(
        shapes.transformer_abmil,
        {**_TRANSFORMER, **_ATTENTION},
        head="last_layer",
        absent=_NO_BIAS,
        unread=_NORM_OF_NO_MLP,
    ),
    "transformer_prob_smooth_abmil": Table(
        shapes.transformer_prob_smooth_abmil,
        {**_TRANSFORMER, **_RANDOM_ATTENTION},
        unread=_NORM_OF_NO_MLP,
        head_options={"average": "logit"},
        differs="torchmil draws its attention anew at every call, here draws are always the same.",
    ),
    "transmil": Table(
        shapes.transmil,
        {
            "embed.0": "fc1",
            "token": "cls_token",
            "norms.{}": "layers.{}.norm1",
            "attentions.{}.qkv": "layers.{}.att_module.qkv_nn",
            "positions.convolutions.0": "pos_layer.proj",
            "positions.convolutions.1": "pos_layer.proj1",
            "positions.convolutions.2": "pos_layer.proj2",
            "norm": "norm",
        },
        head="classifier",
        absent={
            "attentions.{}.out.weight": _eye_like,
            "attentions.{}.out.bias": torch.zeros_like,
        },
        shaped={"cls_token": (1, 1, -1)},
        unread=("layers.{}.norm2",),
        differs="where torchmil was given several bags together, padding took part in its "
        "attention; here every bag is as if it came alone.",
    ),
    "vaeabmil": Table(
        shapes.vaeabmil,
        {
            **_ATTENTION,
            "autoencoder.encoder": "feat_ext.encoder.net",
            "autoencoder.decoder": "feat_ext.decoder.net",
        },
        absent=_NO_BIAS,
        differs="torchmil draws latent variables in evaluation too; here they are the posterior "
        "means, about which its predictions scatter.",
    ),
}

REFUSED = {
    "setmil": "torchmil's SETMIL cannot be taken over: it reshapes its map into tokens where it "
    "would have to transpose it, so that a token is pieces of many patches; with use_pmf its "
    "scales are layers of another kind; and the heads of its attention mix tokens and channels. "
    "Its weights mean nothing in a network whose tokens are patches; train setmil anew, with "
    "preset torchmil for its sizes."
}
"""Models of which no layer of torchmil's does what ours does, and why."""
