"""What AdvMIL's published code calls the parameters of our networks."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from mil.discriminator import Discriminator
from mil.network import Network


def _attention(place: str, names: tuple[str, str, str]) -> dict[str, str]:
    layers = ("pool.direction.0", "pool.gate.0", "pool.score")
    return {ours: f"{place}.{name}" for ours, name in zip(layers, names, strict=True)}


_OF_CLAM = ("attention_a.0", "attention_b.0", "attention_c")
_OF_REGIONS = ("fc1.0", "score.0", "fc2")
_ENCODER = "patch_encoder_layer.layers.0"

# Layers, ours to theirs: a layer's weight and bias have the same names in both, or stand here.
_MODELS = {
    "abmil": {
        "embed.0": "attention_net.0",
        **_attention("attention_net.3", _OF_CLAM),
        "rho.0": "rho.0",
    },
    "deepattnmisl": {
        "phi": "phis.0",
        "embed.0": "attention_net.0",
        **_attention("attention_net.3", _OF_CLAM),
    },
    "patchgcn": {
        "fc.0": "fc.0",
        "phi.0": "path_phi.0",
        **_attention("path_attention_head", _OF_CLAM),
    },
    "esat": {
        "embed.0": "patch_embedding_layer.conv",
        "embed.1": "patch_embedding_layer.norm",
        "encoder.attention.project.weight": f"{_ENCODER}.self_attn.in_proj_weight",
        "encoder.attention.project.bias": f"{_ENCODER}.self_attn.in_proj_bias",
        "encoder.attention.out": f"{_ENCODER}.self_attn.out_proj",
        "encoder.mlp.0": f"{_ENCODER}.linear1",
        "encoder.mlp.2": f"{_ENCODER}.linear2",
        **{f"encoder.norms.{i}": f"{_ENCODER}.norm{i + 1}" for i in range(2)},
        **_attention("pool", _OF_REGIONS),
    },
}
_HEADS = {
    "time": {"layers.0": "MLPs.0.0", "layers.1": "MLPs.0.1", "layers.4": "MLPs.1.0"},
    "cox": {"layers.0": "MLPs.0.0", "layers.3": "MLPs.1.0"},
    "nll": {"layers.0": "MLPs.0.0", "layers.3": "MLPs.1.0"},
}
_DISCRIMINATOR = {
    "embed.0": "net_pair_one.embedding.conv",
    "embed.1": "net_pair_one.embedding.norm",
    "region.0": "net_pair_one.fc1.0",
    "region.3": "net_pair_one.fc1.3",
    **_attention("net_pair_one.pool", _OF_REGIONS),
    "bag.0": "net_pair_one.fc2.0",
    "bag.3": "net_pair_one.fc2.3",
    "time.0": "net_pair_two.0.0",
    "time.2": "net_pair_two.1.0",
}

MODELS = tuple(_MODELS)
HEADS = ("adversarial", *_HEADS)
_CONVOLUTIONS = {  # of 1 x 1, where ours are linear layers: [out, in, 1, 1]
    "backbone.phis.0.weight",
    "backbone.patch_embedding_layer.conv.weight",
    "net_pair_one.embedding.conv.weight",
}


def generator_names(network: Network) -> dict[str, str]:
    """Return the original's name of every parameter of a network, by ours."""
    model, head = network.model, network.head
    layers = dict(_MODELS[model.name])
    if model.name == "patchgcn":
        layers |= _convolutions(len(model.convs))
    of_head = _HEADS.get(head.name) or {
        **{f"layers.{i}": f"MLPs.{i}.0" for i in range(len(head.layers))},
        **{f"norms.{i}": f"MLPs.{i}.1" for i in range(len(head.norms))},
    }
    names = {f"model.{ours}": f"backbone.{theirs}" for ours, theirs in layers.items()}
    names |= {f"head.{ours}": theirs for ours, theirs in of_head.items()}
    return _of_parameters(network.state_dict(), names)


def discriminator_names(discriminator: Discriminator) -> dict[str, str]:
    """Return the original's name of every parameter of a discriminator, by ours."""
    out = "fc" if discriminator.fusion == "cat" else "prj_layer"
    return _of_parameters(discriminator.state_dict(), {**_DISCRIMINATOR, "out": out})


def original_generator(network: Network) -> dict[str, Tensor]:
    """Return the parameters of a network as the original has them."""
    state = _as_original(network.state_dict(), generator_names(network))
    if network.model.name == "patchgcn":  # its first convolution carries a norm that nothing reads
        width = network.model.fc[0].out_features
        unused = nn.LayerNorm(width).state_dict()  # as it starts: ones and zeros
        state |= {f"backbone.layers.0.norm.{kind}": value for kind, value in unused.items()}
    return state


def original_discriminator(discriminator: Discriminator) -> dict[str, Tensor]:
    """Return the parameters of a discriminator as the original has them."""
    return _as_original(discriminator.state_dict(), discriminator_names(discriminator))


def _as_original(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    def shaped(name: str, value: Tensor) -> Tensor:
        return value[..., None, None] if name in _CONVOLUTIONS else value

    return {theirs: shaped(theirs, state[ours]).clone() for ours, theirs in names.items()}


def _convolutions(layers: int) -> dict[str, str]:
    """Return the graph convolutions' names; in the original a dropout stands within their MLP."""
    places = {"mlp.0": "mlp.0", "mlp.1": "mlp.1", "mlp.3": "mlp.4"}
    found = {f"norms.{i - 1}": f"layers.{i}.norm" for i in range(1, layers)}
    for i in range(layers):
        found[f"convs.{i}"] = f"layers.{i}.conv"  # its temperature
        found |= {f"convs.{i}.{a}": f"layers.{i}.conv.{b}" for a, b in places.items()}
    return found


def _of_parameters(parameters: Iterable[str], layers: Mapping[str, str]) -> dict[str, str]:
    names = {}
    for parameter in parameters:
        layer, _, kind = parameter.rpartition(".")
        names[parameter] = layers.get(parameter) or f"{layers[layer]}.{kind}"
    return names
