"""From weights of torchmil to a network, or to a fold folder that ``predict_fold`` takes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from mil.heads import HEADS
from mil.imported_weights import Parameters, read_plain_tensors
from mil.models import find_preset
from mil.network import Network, build_network
from mil.problems import InputError, did_you_mean, listed
from mil.torchmil_weights.names import as_ours
from mil.torchmil_weights.tables import REFUSED, TABLES
from mil.training.settings import TrainingSettings
from mil.training.store import copy_state, save_state
from wsi.storage import atomic, sha256_file

log = logging.getLogger(__name__)

CLASSES = ("0", "1")
LOSS = "criterion."
"""Where torchmil keeps the weights of classes, which its loss has and predictions have not."""
GRAPH = (
    "torchmil's data sets normalise the adjacency (norm_adj), here the model does: give it as it "
    "is before (norm_adj=False), with the edges and weights that the model was trained on."
)


def from_torchmil(
    model: str,
    weights: str | Path | Mapping[str, Tensor],
    *,
    classes: Sequence[str] = CLASSES,
    **options: Any,
) -> Network:
    """Return a network with the weights of one of torchmil's models, in evaluation mode.

    It is the model's preset ``torchmil`` under a head of two classes; ``mil.mil_model.MILModel``
    takes padded bags for it. Widths, numbers of layers and what may be left out are read off the
    parameters.

    Parameters
    ----------
    model : name of ours.
    weights : ``model.state_dict()`` of torchmil, or a file that ``torch.save`` wrote of it.
    classes : names of both.
    options : of our model, where torchmil's had other values than its defaults that parameters do
        not tell, such as ``heads``; ``mode``, ``smooth``, ``steps`` and ``alpha`` of smoothing.

    Raises
    ------
    mil.problems.InputError : a sentence for every parameter that is missing, misshaped or unknown;
        a model or option that there is not.
    """
    network, _ = _taken_over(model, weights, classes, options)
    return network


def convert_torchmil(
    *,
    weights: str | Path,
    model: str,
    label: str,
    to: str | Path,
    classes: Sequence[str] = CLASSES,
    unit: str = "patient",
    options: Mapping[str, Any] | None = None,
    seed: int = 42,
    fold_index: int = 0,
) -> None:
    """Write ``model.safetensors`` and ``config.yaml`` of torchmil's weights into a fold folder.

    Parameters
    ----------
    weights : file that ``torch.save(model.state_dict(), ...)`` wrote.
    model : name of ours.
    label : column of the patient (or slide) table with the label.
    to : folder to write into.
    classes : names of both classes in that column; the second is the one with the label 1.
    unit : ``patient`` or ``slide``, what a bag is.
    options : of our model, see ``from_torchmil``.
    seed, fold_index : of the configuration to be.

    Raises
    ------
    mil.problems.InputError : see ``from_torchmil``.
    """
    if unit not in ("patient", "slide"):
        raise InputError([f"unit is {unit!r}; it must be patient or slide."])
    if not isinstance(options or {}, Mapping):
        raise InputError(
            [f"options is {options!r}; it must be a JSON object, as options='{{\"heads\": 4}}'."]
        )
    network, made = _taken_over(model, weights, classes, options or {})
    made["experiment"]["task"] = {
        "name": "classification",
        "columns": [label],
        "classes": [str(name) for name in classes],
        "unit": unit,
    }
    made |= {
        "seed": seed,
        "fold_index": fold_index,
        "chosen_epoch": None,
        "converted_from": {Path(weights).name: sha256_file(weights)},
    }
    save_state(Path(to) / "model.safetensors", copy_state(network, None))
    with atomic(Path(to) / "config.yaml") as partial:
        partial.write_text(yaml.safe_dump(made, sort_keys=True))
    log.info("%s: model %s %s", to, model, made["experiment"]["model_options"])


def _taken_over(
    model: str,
    weights: str | Path | Mapping[str, Tensor],
    classes: Sequence[str],
    options: Mapping[str, Any],
) -> tuple[Network, dict[str, Any]]:
    """Return the network and what ``build_network`` made it of."""
    if model in REFUSED:
        raise InputError([f"model is {model!r}: {REFUSED[model]}"])
    if model not in TABLES:
        hint = did_you_mean(model, TABLES) or "."
        raise InputError(
            [f"model is {model!r}{hint} Weights of torchmil are known of {', '.join(TABLES)}."]
        )
    if isinstance(classes, str) or len(classes) != 2:
        raise InputError(
            [f"classes is {classes!r}; torchmil has one output, so there must be two names."]
        )
    table, preset = TABLES[model], find_preset(model, "torchmil")
    given = _read(weights)
    in_dim, told = table.read(given, options)
    experiment = {
        "name": f"torchmil-{model}",
        "model": model,
        "model_options": {**preset.options, **told, **options},
        "head": "classes",
        "head_options": dict(table.head_options),
        "encoder": None,
        "permute_labels": None,
        "training": asdict(TrainingSettings(**preset.training)),
    }
    names = [str(name) for name in classes]
    fitted = HEADS.find("classes").fit(torch.arange(2.0).numpy(), classes=names)
    with torch.random.fork_rng([]):  # the start is overwritten
        network = build_network(experiment, in_dim, fitted, standardise=False)
    network.load_state_dict(as_ours(network, given, table))
    graph = GRAPH if "graph" in network.model.needs else ""
    for sentence in filter(None, (table.differs, graph)):
        log.warning("%s: %s", model, sentence)
    made = {"experiment": experiment, "fitted": fitted, "in_dim": in_dim}
    return network.eval(), made


def _read(weights: str | Path | Mapping[str, Tensor]) -> Parameters:
    """Return the parameters without those of the loss."""
    name = "weights"
    if not isinstance(weights, Mapping):
        name = Path(weights).name
        weights = read_plain_tensors(weights, "torchmil's weights (.pt)")
    named = isinstance(weights, Mapping) and all(
        isinstance(key, str) and torch.is_tensor(value) for key, value in weights.items()
    )
    if not named or not weights:
        kind = type(weights).__name__
        found = listed(map(str, weights), 5) if isinstance(weights, Mapping) else kind
        raise InputError(
            [
                f"{name}: this should be parameters by name, as model.state_dict() of torchmil "
                f"returns and torch.save writes them; it is {found or 'empty'}. Of a checkpoint "
                "with more in it, give the part with the parameters."
            ]
        )
    of_loss = [key for key in weights if key.startswith(LOSS)]
    if of_loss:
        log.info("%s: %s is left out: predictions have no loss.", name, listed(of_loss))
    return Parameters(
        "torchmil", name, {key: v for key, v in weights.items() if key not in of_loss}
    )
