"""What names and shapes of torchmil's parameters tell: width of the features, and our options.

A reader takes the parameters and the options that were given.
"""

from collections.abc import Mapping
from typing import Any

from mil.imported_weights import Parameters
from mil.problems import InputError

Given = Mapping[str, Any]
Told = tuple[int, dict[str, Any]]

STACK = "transformer_encoder.layers"
"""Where a transformer has its layers."""
_NORMED = ("proj1", "proj2")


def _attention(p: Parameters) -> dict[str, Any]:
    gated = "pool.fc_gated.module.weight" in p.state
    return {"attention": p.size("pool.fc1.module.weight", 0), "gated": gated}


def _random_attention(p: Parameters) -> dict[str, Any]:
    return {"attention": p.size("pool.in_mlp.0.module.weight", 0) // 2}


def _transformer(p: Parameters) -> Told:
    qkv = f"{STACK}.0.att_module.qkv_nn.weight"
    return p.size(qkv, 1), {
        "hidden": p.size(qkv, 0) // 3,
        "layers": p.count(STACK.replace(".", r"\.")),
        "mlp": f"{STACK}.0.mlp_module.0.weight" in p.state,
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


def abmil(p: Parameters, given: Given) -> Told:
    """Read ABMIL and CLAM: attention pooling of the features."""
    return p.size("pool.fc1.module.weight", 1), _attention(p)


def camil(p: Parameters, given: Given) -> Told:
    """Read the widths of CAMIL."""
    return p.size("fc1.weight", 1), {
        "hidden": p.size("fc1.weight", 0),
        "keys": p.size("camil_self_attention.qk_nn.weight", 0) // 2,
        "attention": p.size("camil_att_pool.fc1.weight", 0),
        "gated": "camil_att_pool.fc_gated.weight" in p.state,
    }


def dtfd(p: Parameters, given: Given) -> Told:
    """Read the widths of DTFD."""
    weight = "attention_pool.fc1.module.weight"
    return p.size(weight, 1), {"attention": p.size(weight, 0)}


def gtp(p: Parameters, given: Given) -> Told:
    """Read clusters and transformer of GTP; its nodes are as wide as the features."""
    return p.size("cluster_proj.weight", 1), {
        "clusters": p.size("cluster_proj.weight", 0),
        "layers": p.count(STACK.replace(".", r"\.")),
        "inner": p.size(f"{STACK}.0.att_module.qkv_nn.weight", 0) // 3,
    }


def iib_mil(p: Parameters, given: Given) -> Told:
    """Read width and layers of the encoder of IIB-MIL."""
    qkv = "encoder.layers.0.att_module.qkv_nn.weight"
    return p.size(qkv, 1), {
        "hidden": p.size(qkv, 0) // 3,
        "stages": p.count(r"encoder\.layers"),
    }


def patchgcn(p: Parameters, given: Given) -> Told:
    """Read convolutions and attention of Patch-GCN."""
    width = p.size("gcn_layers.0.conv.fc.module.weight", 1)
    return width, {
        "out": p.size("mlp.0.0.module.weight", 0),
        "num_layers": p.count("gcn_layers"),
        **_attention(p),
    }


def dsmil(p: Parameters, given: Given) -> Told:
    """Read a query of one layer or two, with or without a layer of values."""
    nonlinear = "q_nn.0.weight" in p.state
    query = "q_nn.0.weight" if nonlinear else "q_nn.weight"
    options = {"nonlinear": nonlinear, "value": "v_nn.1.weight" in p.state}
    return p.size(query, 1), {"query": p.size(query, 0), **options}


def deepgraphsurv(p: Parameters, given: Given) -> Told:
    """Read convolutions, of which no shape tells the number of orders: five unless given."""
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


def prob_smooth_abmil(p: Parameters, given: Given) -> Told:
    """Read random attention on the features, with variance or without."""
    return p.size("pool.in_mlp.0.module.weight", 1), _random_attention(p)


def sm_abmil(p: Parameters, given: Given) -> Told:
    """Read smoothed attention on the features."""
    return p.size("last_layer.weight", 1), _smooth_attention(p, given, ["pool.sm.sm.coef"])


def sm_transformer_abmil(p: Parameters, given: Given) -> Told:
    """Read a transformer, then smoothed attention."""
    in_dim, options = _transformer(p)
    coefficients = [f"{STACK}.0.att_module.sm.sm.coef", "pool.sm.sm.coef"]
    return in_dim, options | _smooth_attention(p, given, coefficients)


def transformer_abmil(p: Parameters, given: Given) -> Told:
    """Read a transformer, then attention."""
    in_dim, options = _transformer(p)
    return in_dim, options | _attention(p)


def transformer_prob_smooth_abmil(p: Parameters, given: Given) -> Told:
    """Read a transformer, then random attention."""
    in_dim, options = _transformer(p)
    return in_dim, options | _random_attention(p)


def transmil(p: Parameters, given: Given) -> Told:
    """Read the width of TransMIL."""
    return p.size("fc1.weight", 1), {"hidden": p.size("fc1.weight", 0)}


def vaeabmil(p: Parameters, given: Given) -> Told:
    """Read an autoencoder with one variance or one for each dimension, then attention."""
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
