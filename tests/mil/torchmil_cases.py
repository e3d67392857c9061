"""Models of torchmil 1.0.2 and what they were measured to give; run as a script, it measures anew.

PYTHONPATH=.:tests/mil python tests/mil/torchmil_cases.py  # pip install torchmil==1.0.2
"""

import json
from pathlib import Path

import torch
from examples import golden_input
from golden import eight_neighbours, golden_parameters

from mil.bags import Bag

VALUES = Path(__file__).with_name("torchmil_values.json")
WIDTH, ROWS, COLUMNS = 12, 5, 8

SMALL = {"att_dim": 8}
CAMIL = {"nystrom_att_dim": 16, "pool_att_dim": 8, "n_landmarks": 8}
STACK = {"transf_att_dim": 16, "pool_att_dim": 8}
EVEN = {
    **STACK,
    "transf_att_dim": WIDTH,
    "transf_n_layers": 2,
    "transf_n_heads": 2,
    "transf_use_mlp": False,
}
CASES = {  # ours, torchmil's class, what it is told, options of ours that no parameter tells
    "abmil": ("abmil", "ABMIL", SMALL, {}),
    "abmil gated": ("abmil", "ABMIL", {**SMALL, "gated": True}, {}),
    "clam_sb": ("clam_sb", "CLAM_SB", SMALL, {}),
    "clam_sb gated": ("clam_sb", "CLAM_SB", {**SMALL, "gated": True}, {}),
    "dsmil": ("dsmil", "DSMIL", SMALL, {}),
    "dsmil nonlinear": ("dsmil", "DSMIL", {**SMALL, "nonlinear_q": True, "nonlinear_v": True}, {}),
    "dsmil value": ("dsmil", "DSMIL", {**SMALL, "nonlinear_v": True}, {}),
    "dtfd": (
        "dtfd",
        "DTFDMIL",
        {**SMALL, "n_groups": 1, "distill_mode": "afs"},
        {"groups": 1, "distil": "afs"},
    ),
    "gtp": ("gtp", "GTP", {"att_dim": 16, "n_clusters": 10}, {}),
    "gtp even": (
        "gtp",
        "GTP",
        {"att_dim": WIDTH, "n_clusters": 7, "n_layers": 2, "n_heads": 4},
        {"heads": 4},
    ),
    "iib_mil": ("iib_mil", "IIBMIL", {"att_dim": 16}, {}),
    "iib_mil 2 layers": ("iib_mil", "IIBMIL", {"att_dim": 16, "n_layers_encoder": 2}, {}),
    "iib_mil even": ("iib_mil", "IIBMIL", {"att_dim": WIDTH}, {}),
    "patchgcn": ("patchgcn", "PatchGCN", SMALL, {}),
    "patchgcn 2 layers": ("patchgcn", "PatchGCN", {**SMALL, "n_gcn_layers": 2}, {}),
    "prob_smooth": ("prob_smooth_abmil", "ProbSmoothABMIL", {**SMALL, "n_samples_test": 4}, {}),
    "smooth": ("smooth_abmil", "SmoothABMIL", SMALL, {}),
    "sm early": ("sm_abmil", "SmABMIL", SMALL, {}),
    "sm early exact": ("sm_abmil", "SmABMIL", {**SMALL, "sm_mode": "exact"}, {"mode": "exact"}),
    "sm mid": ("sm_abmil", "SmABMIL", {**SMALL, "sm_where": "mid"}, {"smooth": "mid"}),
    "sm late 3 steps": (
        "sm_abmil",
        "SmABMIL",
        {**SMALL, "sm_where": "late", "sm_steps": 3},
        {"smooth": "late", "steps": 3},
    ),
    "sm none": ("sm_abmil", "SmABMIL", {**SMALL, "sm_where": "none"}, {"smooth": "none"}),
    "sm fixed": ("sm_abmil", "SmABMIL", {**SMALL, "sm_alpha": 0.3}, {"alpha": 0.7}),
    "sm fixed exact": (
        "sm_abmil",
        "SmABMIL",
        {**SMALL, "sm_alpha": 0.3, "sm_mode": "exact"},
        {"alpha": 0.3, "mode": "exact"},
    ),
    "sm spectral": ("sm_abmil", "SmABMIL", {**SMALL, "spectral_norm": True}, {}),
    "sm mid spectral": (
        "sm_abmil",
        "SmABMIL",
        {**SMALL, "sm_where": "mid", "spectral_norm": True},
        {},
    ),
    "sm_transformer": ("sm_transformer_abmil", "SmTransformerABMIL", STACK, {}),
    "sm_transformer even": (
        "sm_transformer_abmil",
        "SmTransformerABMIL",
        {**EVEN, "pool_sm_where": "none"},
        {"heads": 2, "smooth": "none"},
    ),
    "transformer": ("transformer_abmil", "TransformerABMIL", STACK, {}),
    "transformer even": (
        "transformer_abmil",
        "TransformerABMIL",
        {**EVEN, "transf_add_self": False, "pool_gated": True},
        {"heads": 2, "add_self": False},
    ),
    "transformer_prob_smooth": (
        "transformer_prob_smooth_abmil",
        "TransformerProbSmoothABMIL",
        {**STACK, "n_samples_test": 4},
        {},
    ),
    "transmil": ("transmil", "TransMIL", {"att_dim": 16}, {}),
    "transmil 12 landmarks": (
        "transmil",
        "TransMIL",
        {"att_dim": 16, "n_heads": 2, "n_landmarks": 12},
        {"heads": 2, "landmarks": 12},
    ),
    "vaeabmil": ("vaeabmil", "VAEABMIL", {**SMALL, "sizes": [10, 6]}, {}),
    "vaeabmil diagonal": (
        "vaeabmil",
        "VAEABMIL",
        {**SMALL, "sizes": [10, 8, 6], "covar_mode": "diagonal", "gated": True},
        {},
    ),
}
WRONG = {
    "deepgraphsurv": ("deepgraphsurv", "DeepGraphSurv", {**SMALL, "hidden_dim": 10}, {}),
    "deepgraphsurv 2 layers": (
        "deepgraphsurv",
        "DeepGraphSurv",
        {**SMALL, "hidden_dim": 10, "n_layers_rep": 2, "n_layers_att": 2, "K": 4},
        {"orders": 4},
    ),
}
"""Where torchmil's layers are right for a bag of one instance only."""


OTHER = {
    "camil": ("camil", "CAMIL", CAMIL, {"landmarks": 8}),
    "camil gated": (
        "camil",
        "CAMIL",
        {**CAMIL, "gated_pool": True, "n_heads": 2},
        {"landmarks": 8, "heads": 2},
    ),
}
"""Where one thing is other than here."""
ALL = {**CASES, **WRONG, **OTHER}


def original(cls, told):
    """A model of torchmil, at its random start."""
    from torchmil import models
    from torchmil.nn.variational_autoencoder import VariationalAutoEncoderMIL

    told = dict(told)
    if sizes := told.pop("sizes", None):
        acts = ["relu"] * (len(sizes) - 1) + ["None"]
        mode = told.pop("covar_mode", "single")
        told["feat_ext"] = VariationalAutoEncoderMIL((WIDTH,), sizes, acts, covar_mode=mode)
    return getattr(models, cls)(in_shape=(WIDTH,), **told).eval()


def filled(shapes):
    """Parameters by the fill rule of the specification, with nothing random left in them."""
    norms = {name for name in shapes if "norm" in name and name.endswith("weight")}
    coefficients = {name: lambda g: 1 + 0.2 * g for name in shapes if name.endswith("coef")}
    state = {n: v.float() for n, v in golden_parameters(shapes, norms, coefficients).items()}
    return certain(state)


def certain(state):
    """The parameters without variance of what torchmil draws in evaluation."""
    latent = state.get("feat_ext.decoder.net.0.weight")
    last = max((n for n in state if n.startswith("feat_ext.encoder")), default=None)
    for name, value in state.items():
        if "log_diag_Sigma" in name:
            value.fill_(-60 if value.ndim == 1 else 0)
        elif last and name.startswith(last.rpartition(".")[0]):
            value[latent.shape[1] :] = -60 if value.ndim == 1 else 0
    return state


def bag(instances=ROWS * COLUMNS):
    """The bag that is looked at: a grid of instances, or one with an edge to itself."""
    edges = eight_neighbours(ROWS, COLUMNS) if instances > 1 else torch.zeros(2, 1).long()
    x = torch.from_numpy(golden_input(0, WIDTH)[:instances]).float()
    n = torch.arange(instances)
    coords = torch.stack([n % COLUMNS, n // COLUMNS], 1)
    return Bag.single(x, coords=coords, edge_index=edges, edge_weight=torch.ones(edges.shape[1]))


@torch.no_grad()
def logit(model, state, one):
    """What a model of torchmil says of a bag."""
    model.load_state_dict(state, strict=False)  # spectral norms find their vectors themselves
    model.train()
    for layer in model.modules():
        if hasattr(layer, "parametrizations"):
            for _ in range(500):
                getattr(layer, "weight")  # noqa: B009 every look is an iteration
    model.eval()
    x = one.features.unsqueeze(0)
    if type(model).__name__ == "DTFDMIL":  # it fails without a mask
        return model(x, mask=torch.ones(x.shape[:2])).item()
    if "adj" not in model.forward.__code__.co_varnames:
        return model(x).item()
    i, j = one.edge_index
    weight = torch.bincount(i).float().rsqrt()
    n = len(one.features)
    places = torch.stack([torch.zeros_like(i), i, j])
    adj = torch.sparse_coo_tensor(
        places, weight[i] * weight[j], (1, n, n), check_invariants=False
    ).coalesce()
    return model(x, adj).item()


def measure():
    """Write names, shapes and outputs of every case."""
    found = {}
    for name, (_, cls, told, _) in ALL.items():
        model = original(cls, told)
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        learnt = {key: shape for key, shape in shapes.items() if key[-3:] not in ("._u", "._v")}
        one = bag(1 if name in WRONG else ROWS * COLUMNS)
        found[name] = {"shapes": shapes, "logit": round(logit(model, filled(learnt), one), 6)}
    rows = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in found.items()]
    VALUES.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    measure()
