"""What the shapes in a checkpoint of AdvMIL tell of the network it was made with."""

from typing import Any

from mil.imported_weights import Parameters
from mil.problems import InputError, listed

_MARKS = {  # a layer that no other backbone has
    "abmil": "backbone.rho.0.weight",
    "deepattnmisl": "backbone.phis.0.weight",
    "patchgcn": "backbone.fc.0.weight",
    "esat": "backbone.patch_embedding_layer.conv.weight",
}


def read_model(generator: Parameters) -> tuple[str, int, dict[str, Any]]:
    """Return name, width of the features and options of the model in a generator.

    Raises
    ------
    mil.problems.InputError : no backbone known here, or a layer that is missing.
    """
    size = generator.size
    name = next((name for name, mark in _MARKS.items() if mark in generator.state), None)
    if name is None:
        wanted = ", ".join(f"{mark} ({name})" for name, mark in _MARKS.items())
        raise InputError(
            [
                f"{generator.file}: no backbone of AdvMIL in it. There should be one of {wanted}; "
                f"there is {listed(generator.state, most=5) or 'nothing'}. The generator's file is "
                "train_modelG-best.pth."
            ]
        )
    mark = _MARKS[name]
    hidden, in_dim = size(mark, 0), size(mark, 1)
    if name == "abmil":
        hidden, in_dim = (size("backbone.attention_net.0.weight", axis) for axis in (0, 1))
        options = {"hidden": hidden, "out": size(mark, 0)}
    elif name == "deepattnmisl":
        options = {"hidden": hidden, "mask_empty": False}  # empty clusters take part there
    elif name == "patchgcn":
        out, layers = size("backbone.path_phi.0.weight", 0), generator.count(r"backbone\.layers")
        options = {"hidden": hidden, "out": out, "num_layers": max(layers, 1)}
    else:
        options = {"hidden": hidden}
    return name, in_dim, options


def read_head(generator: Parameters, width: int) -> dict[str, Any]:
    """Return options of the head on embeddings of ``width``: where it has noise and norms.

    Raises
    ------
    mil.problems.InputError : a layer that is missing or reads neither its input nor twice that.
    """
    flags = []
    layers = max(generator.count("MLPs"), 1)
    for i in range(layers):
        wide = max(width >> i, 1)
        found = generator.size(f"MLPs.{i}.0.weight", 1)
        if found not in (wide, 2 * wide):
            raise InputError(
                [
                    f"{generator.file}: MLPs.{i}.0.weight reads {found} values; after the layers "
                    f"before it these must be {wide} or, with noise, {2 * wide}."
                ]
            )
        flags.append(str(found // wide - 1))
    normed = any(f"MLPs.{i}.1.weight" in generator.state for i in range(layers))
    return {"noise": "-".join(flags), "layer_norm": normed}
