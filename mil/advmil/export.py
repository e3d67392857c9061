"""From a fold folder to checkpoints that AdvMIL's code can test with."""

import inspect
import logging
from pathlib import Path

import torch
import yaml

from mil.advmil.checkpoint import DISCRIMINATOR, GENERATOR, write_checkpoint
from mil.advmil.names import HEADS, MODELS, original_discriminator, original_generator
from mil.heads import HEADS as OUR_HEADS
from mil.models import MODELS as OUR_MODELS
from mil.network import build_network
from mil.problems import InputError
from mil.training.store import load_discriminator_state, load_network_state

log = logging.getLogger(__name__)

_NEEDED = {  # options that AdvMIL's networks have no other value of
    ("model", "abmil"): {"gated": (True,)},
    ("model", "deepattnmisl"): {"mask_empty": (False,), "clusters": (8,)},
    ("model", "patchgcn"): {"edge_agg": ("spatial",)},
    ("model", "esat"): {"heads": (8,)},
    ("head", "adversarial"): {"output": ("sigmoid", "exp", "identity")},
    ("head", "time"): {"output": ("sigmoid", "exp", "identity")},
}


def export_advmil(*, fold: str | Path, to: str | Path) -> None:
    """Write ``train_modelG-best.pth`` and, of an adversarial head, ``train_modelD-best.pth``.

    Times of the original are in units of its table's longest time; those of this network are in
    units of ``t_ref``, which the log tells.

    Parameters
    ----------
    fold : folder with the ``model.safetensors`` and ``config.yaml`` of a trained network.
    to : folder to write into.

    Raises
    ------
    mil.problems.InputError : a network that AdvMIL's code cannot express, in sentences.
    """
    model, config = Path(fold) / "model.safetensors", Path(fold) / "config.yaml"
    absent = [str(path) for path in (model, config) if not path.is_file()]
    if absent:
        raise InputError(
            [f"{path}: there is no such file. Give a folder models/.../fold<k>." for path in absent]
        )
    made = yaml.safe_load(config.read_text())
    experiment, fitted = made["experiment"], made["fitted"]
    if problems := _inexpressible(experiment):
        raise InputError(f"{config}: {problem}" for problem in problems)

    with torch.random.fork_rng([]):  # the start is overwritten
        network = build_network(experiment, made["in_dim"], fitted, standardise=False)
    network.load_state_dict(load_network_state(model))
    epoch = made["chosen_epoch"]
    write_checkpoint(Path(to) / GENERATOR, epoch, original_generator(network))
    if its := load_discriminator_state(model):
        judge = network.head.opponent(made["in_dim"])
        judge.load_state_dict(its)
        write_checkpoint(Path(to) / DISCRIMINATOR, epoch, original_discriminator(judge))
    unit = f"; its times are in units of {fitted['t_ref']:g}" if "t_ref" in fitted else ""
    log.info("%s: %s with head %s%s", to, experiment["model"], experiment["head"], unit)


def _inexpressible(experiment: dict) -> list[str]:
    """Return sentences on what AdvMIL's code has no like of."""
    problems = []
    for kind, known, registry in (("model", MODELS, OUR_MODELS), ("head", HEADS, OUR_HEADS)):
        name = experiment[kind]
        if name not in known:
            problems.append(f"{kind} is {name}; AdvMIL has only {', '.join(known)}.")
            continue
        given = experiment.get(f"{kind}_options") or {}
        usual = inspect.signature(registry.find(name)).parameters
        for option, allowed in _NEEDED.get((kind, name), {}).items():
            value = given.get(option, usual[option].default)
            if value not in allowed:
                problems.append(
                    f"{kind}_options.{option} is {value}; AdvMIL's code has only "
                    f"{' and '.join(map(str, allowed))}, so it would predict something else."
                )
    if experiment["training"]["standardise"]:
        problems.append(
            "training.standardise is true; AdvMIL's code takes features as they are, so it would "
            "predict something else."
        )
    return problems
