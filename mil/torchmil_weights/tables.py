"""What torchmil 1.0.2 calls the parameters of our models, and what its shapes tell of a model.

A model more is an entry of ``TABLES``, beside a preset ``torchmil`` of the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mil.imported_weights import Parameters
from mil.problems import InputError

Given = Mapping[str, Any]
Read = Callable[[Parameters, Given], tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Table:
    """How the weights of one of torchmil's models become ours.

    Attributes
    ----------
    read : what shapes and names tell: from the parameters and the options that were given to
        the width of the features and further options of our model.
    layers : beginnings of names, ours to theirs, of which the longest counts; ``{}`` is a number,
        the same in both, and what follows is too. Of several names for one the first that is in
        the file counts. Where several of ours have one of theirs, it has their inputs side by
        side.
    head : theirs, the linear layer that the head has.
    absent : our parameters that torchmil has not, and what makes a value of ours that changes
        nothing.
    shaped : theirs of another shape than ours, and that shape.
    unread : parameters of theirs that its own forward pass does not read.
    head_options : of the head, by which it does what torchmil does.
    differs : sentences on where predictions are others than torchmil's, for the user.
    """

    read: Read
    layers: Mapping[str, str | tuple[str, ...]]
    head: str = "classifier.module"
    absent: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
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
_NORMED = ("proj1", "proj2")
_RANDOM_ATTENTION = {
    "pool.hidden.0": "pool.in_mlp.0.module",
    "pool.hidden.2": "pool.in_mlp.2",
    "pool.mean": "pool.mu_f_nn",
    "pool.log_variance": "pool.log_diag_Sigma_nn",
}
_STACK = "transformer_encoder.layers"
_TRANSFORMER = {
    "encoder.layers.{}.enter": f"{_STACK}.{{}}.att_proj",
    "encoder.layers.{}.norm": f"{_STACK}.{{}}.norm1",
    "encoder.layers.{}.attention.qkv": f"{_STACK}.{{}}.att_module.qkv_nn",
    "encoder.layers.{}.mlp.0": f"{_STACK}.{{}}.norm2",
    "encoder.layers.{}.mlp.1": f"{_STACK}.{{}}.mlp_module.0",
    "encoder.layers.{}.mlp.4": f"{_STACK}.{{}}.mlp_module.3",
    "encoder.layers.{}.leave": f"{_STACK}.{{}}.out_proj",
    "encoder.norm": "transformer_encoder.norm",
}
_NORM_OF_NO_MLP = (f"{_STACK}.{{}}.norm2",)


# What shapes tell.


def _attention(p: Parameters) -> dict[str, Any]:
    gated = "pool.fc_gated.module.weight" in p.state
    return {"attention": p.size("pool.fc1.module.weight", 0), "gated": gated}


def _random_attention(p: Parameters) -> dict[str, Any]:
    return {"attention": p.size("pool.in_mlp.0.module.weight", 0) // 2}


def _transformer(p: Parameters) -> tuple[int, dict[str, Any]]:
    qkv = f"{_STACK}.0.att_module.qkv_nn.weight"
    return p.size(qkv, 1), {
        "hidden": p.size(qkv, 0) // 3,
        "layers": p.count(_STACK.replace(".", r"\.")),
        "mlp": f"{_STACK}.0.mlp_module.0.weight" in p.state,
    }


def _smooth_attention(p: Parameters, given: Given, coefficients: list[str]) -> dict[str, Any]:
    """Return options of the smoothing; what the file cannot tell must be given."""
    learnt = any(name in p.state for name in coefficients)
    if not learnt and "alpha" not in given and given.get("smooth") != "none":
        raise InputError(
            [
                f"{p.file}: there is no {coefficients[-1]}, so nothing was smoothed (sm_where "
                "none), or with an sm_alpha that is a number, which no file of weights has. Give "
                "the option smooth=none, or alpha, the weight of the neighbours: 1 - sm_alpha, "
                "with mode=exact sm_alpha itself."
            ]
        )
    first, last = (f"pool.{x}.parametrizations.weight.original" in p.state for x in _NORMED)
    weight = "parametrizations.weight.original" if first else "weight"
    options = {
        "attention": p.size(f"pool.proj1.{weight}", 0),
        "learn_alpha": learnt,
        "spectral_norm": first or last,
    }
    return options | ({"smooth": "mid"} if last and not first else {})


def _read_abmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    return p.size("pool.fc1.module.weight", 1), _attention(p)


def _read_dsmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    nonlinear = "q_nn.0.weight" in p.state
    query = "q_nn.0.weight" if nonlinear else "q_nn.weight"
    options = {"nonlinear": nonlinear, "value": "v_nn.1.weight" in p.state}
    return p.size(query, 1), {"query": p.size(query, 0), **options}


def _read_deepgraphsurv(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    orders, inputs = given.get("orders", 5), p.size("layers_rep.0.fc.weight", 1)
    if not isinstance(orders, int) or orders < 1 or inputs % orders:
        raise InputError(
            [
                f"{p.file}: layers_rep.0.fc.weight has {inputs} inputs, which are no {orders!r} "
                "orders of as many features each; give the option orders, torchmil's K."
            ]
        )
    return inputs // orders, {
        "orders": orders,
        "hidden": p.size("layers_rep.0.fc.weight", 0),
        "attention": p.size("layers_att.0.fc.weight", 0),
        "layers": p.count("layers_rep"),
    }


def _read_prob_smooth_abmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    return p.size("pool.in_mlp.0.module.weight", 1), _random_attention(p)


def _read_sm_abmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    return p.size("last_layer.weight", 1), _smooth_attention(p, given, ["pool.sm.sm.coef"])


def _read_sm_transformer_abmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    in_dim, options = _transformer(p)
    coefficients = [f"{_STACK}.0.att_module.sm.sm.coef", "pool.sm.sm.coef"]
    return in_dim, options | _smooth_attention(p, given, coefficients)


def _read_transformer_abmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    in_dim, options = _transformer(p)
    return in_dim, options | _attention(p)


def _read_transformer_prob_smooth_abmil(
    p: Parameters, given: Given
) -> tuple[int, dict[str, Any]]:
    in_dim, options = _transformer(p)
    return in_dim, options | _random_attention(p)


def _read_transmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    return p.size("fc1.weight", 1), {"hidden": p.size("fc1.weight", 0)}


def _read_vaeabmil(p: Parameters, given: Given) -> tuple[int, dict[str, Any]]:
    in_dim = p.size("feat_ext.encoder.net.0.weight", 1)
    latent = p.size("feat_ext.decoder.net.0.weight", 1)
    layers = [n for n in range(0, len(p.state), 2) if f"feat_ext.encoder.net.{n}.weight" in p.state]
    sizes = [p.size(f"feat_ext.encoder.net.{n}.weight", 0) for n in layers[:-1]]
    decoded = p.size(f"feat_ext.decoder.net.{layers[-1]}.weight", 0)
    return in_dim, {
        "sizes": "-".join(map(str, [*sizes, latent])),
        "variance": "single" if decoded == in_dim + 1 else "diagonal",
        **_attention(p),
    }


TABLES = {
    "abmil": Table(_read_abmil, _ATTENTION, absent=_NO_BIAS),
    "clam_sb": Table(
        _read_abmil,
        {**_ATTENTION, "instance_heads.{}": "inst_classifiers.{}.module"},
        absent=_NO_BIAS,
        differs="the instance classifiers learnt from a loss that was wrong (it compared every "
        "instance with the targets of all): bags are as in torchmil, instance_logits are not to "
        "be trusted before more training.",
    ),
    "deepgraphsurv": Table(
        _read_deepgraphsurv,
        {
            "representation.convs.{}.weights.{}": "layers_rep.{}.fc",
            "attention.convs.{}.weights.{}": "layers_att.{}.fc",
            "score": "proj1d.module",
        },
        absent={
            "representation.convs.{}.bias": torch.zeros_like,
            "attention.convs.{}.bias": torch.zeros_like,
        },
        differs="torchmil's convolution mixes features of different nodes, so its weights learnt "
        "something that no Chebyshev convolution is: predictions are others, but for bags of one "
        "instance. Take them as a start of a training, not as a trained network.",
    ),
    "dsmil": Table(
        _read_dsmil,
        {"classify": "inst_classifier", "query": "q_nn", "query.0": ("q_nn.0", "q_nn"), "value": "v_nn"},
        head="bag_classifier",
        differs="the outputs are those of torchmil's forward, the bag stream; its predict and "
        "compute_loss return the mean of them and the highest instance logit.",
    ),
    "prob_smooth_abmil": Table(
        _read_prob_smooth_abmil,
        _RANDOM_ATTENTION,
        head_options={"average": "logit"},
        differs="torchmil draws its attention anew at every call, here draws are always the same.",
    ),
    "sm_abmil": Table(
        _read_sm_abmil,
        _SMOOTH_ATTENTION,
        head="last_layer",
    ),
    "sm_transformer_abmil": Table(
        _read_sm_transformer_abmil,
        {
            **_TRANSFORMER,
            **_SMOOTH_ATTENTION,
            "smooth.{}.logit": f"{_STACK}.{{}}.att_module.sm.sm.coef",
        },
        head="last_layer",
        unread=_NORM_OF_NO_MLP,
    ),
    "smooth_abmil": Table(_read_prob_smooth_abmil, _RANDOM_ATTENTION),
    "transformer_abmil": Table(
        _read_transformer_abmil,
        {**_TRANSFORMER, **_ATTENTION},
        head="last_layer",
        absent=_NO_BIAS,
        unread=_NORM_OF_NO_MLP,
    ),
    "transformer_prob_smooth_abmil": Table(
        _read_transformer_prob_smooth_abmil,
        {**_TRANSFORMER, **_RANDOM_ATTENTION},
        unread=_NORM_OF_NO_MLP,
        head_options={"average": "logit"},
        differs="torchmil draws its attention anew at every call, here draws are always the same.",
    ),
    "transmil": Table(
        _read_transmil,
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
        _read_vaeabmil,
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
