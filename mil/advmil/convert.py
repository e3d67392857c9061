"""From a checkpoint of AdvMIL to a fold folder that ``predict_fold`` takes as it is."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from mil.advmil.checkpoint import read_checkpoint
from mil.advmil.names import (
    HEADS,
    discriminator_names,
    generator_names,
    original_discriminator,
    original_generator,
)
from mil.advmil.shapes import read_head, read_model
from mil.imported_weights import Parameters, mismatches
from mil.models import build_model
from mil.network import build_network
from mil.problems import InputError, did_you_mean
from mil.training.settings import TrainingSettings
from mil.training.store import OPPONENT, save_state
from wsi.storage import atomic, sha256_file

log = logging.getLogger(__name__)


def convert_advmil(
    *,
    generator: str | Path,
    to: str | Path,
    discriminator: str | Path | None = None,
    head: str = "adversarial",
    t_max: float | None = None,
    edges: Sequence[float] | None = None,
    output: str = "sigmoid",
    distribution: str = "uniform",
    fusion: str = "instance",
    term: str = "bag",
    seed: int = 42,
    fold_index: int = 0,
) -> None:
    """Write ``model.safetensors`` and ``config.yaml`` of a checkpoint into a fold folder.

    The model, all widths, noise, norms and the kind of discriminator are read off the parameters;
    only what those cannot tell is asked for.

    Parameters
    ----------
    generator : ``train_modelG-best.pth``, or the one network of the original's baselines.
    to : folder to write into.
    discriminator : ``train_modelD-best.pth``; predictions need none.
    head : ``adversarial``, or for the original's baselines ``time`` (surv_reg), ``cox`` (surv_cox)
        or ``nll`` (surv_nll).
    t_max : what the network's times are multiplied by, in the unit of *your* patient table: for
        ``time_format: ratio`` the longest time of the table trained on, for ``origin`` 1 day.
    edges : for ``nll``, the cuts between its time bins, in the unit of your patient table.
    output : of the head (``gen_out_scale``), ``sigmoid``, ``exp`` or ``identity``.
    distribution : of the noise (``gen_noi_noise_dist``), ``uniform`` or ``gaussian``.
    fusion : ``instance`` or ``bag`` (``disc_prj_iprd``), where the discriminator projects.
    term : ``bag`` or ``time`` (``disc_prj_path`` x or y), where the discriminator has such a layer.
    seed, fold_index : of the configuration to be; predictions draw their noise from the seed.

    Raises
    ------
    mil.problems.InputError : what is not AdvMIL's, with a sentence for every parameter that is
        missing, misshaped or unknown; an option that is needed.
    """
    fitted = _fitted(head, t_max, edges)
    if discriminator is not None and head != "adversarial":
        raise InputError([f"head {head!r} has no discriminator; leave out discriminator=..."])
    epoch, state = read_checkpoint(generator)
    of_generator = Parameters("AdvMIL", Path(generator).name, state)
    model, in_dim, model_options = read_model(of_generator)
    found = read_head(of_generator, build_model(model, in_dim, **model_options).out_dim)
    head_options = {
        "adversarial": {**found, "distribution": distribution, "output": output},
        "time": {"layer_norm": found["layer_norm"], "output": output},
        "nll": {"bins": len(fitted.get("edges", ())) - 1, "legacy_labels": True},
    }.get(head, {})
    opponent = None
    if discriminator is not None:
        _, opponent = read_checkpoint(discriminator)
        head_options |= _kind_of_discriminator(opponent, fusion, term)
    experiment = {
        "name": f"advmil-{model}-{head}",
        "model": model,
        "model_options": model_options,
        "head": head,
        "head_options": head_options,
        "encoder": None,
        "permute_labels": None,
        "training": asdict(TrainingSettings(standardise=False)),
    }

    with torch.random.fork_rng([]):  # the start is overwritten
        network = build_network(experiment, in_dim, fitted, standardise=False)
        judge = network.head.opponent(in_dim) if opponent is not None else None
    whose = f"model {model} with head {head}"
    problems = list(mismatches(of_generator, original_generator(network), whose))
    if judge is not None:
        of_judge = Parameters("AdvMIL", Path(discriminator).name, opponent)
        problems += mismatches(of_judge, original_discriminator(judge), "a discriminator")
    if problems:
        raise InputError(problems)
    taken = _renamed(state, network, generator_names(network))
    if judge is not None:
        its = _renamed(opponent, judge, discriminator_names(judge))
        taken |= {OPPONENT + name: value for name, value in its.items()}

    save_state(Path(to) / "model.safetensors", taken)
    files = [path for path in (generator, discriminator) if path is not None]
    made = {
        "experiment": experiment,
        "fitted": fitted,
        "in_dim": in_dim,
        "seed": seed,
        "fold_index": fold_index,
        "chosen_epoch": epoch,  # as the original counts it
        "converted_from": {Path(path).name: sha256_file(path) for path in files},
    }
    with atomic(Path(to) / "config.yaml") as partial:
        partial.write_text(yaml.safe_dump(made, sort_keys=True))
    log.info("%s: model %s %s, head %s %s", to, model, model_options, head, head_options)
    if head == "nll":
        log.warning(
            "AdvMIL's released code trains surv_nll with events and censorings swapped: if this "
            "network is from it, its hazards are those of being censored, and risks are reversed."
        )


def _fitted(
    head: str, t_max: float | None, edges: Sequence[float] | None
) -> dict[str, float | list[float]]:
    """Return what the head would have fitted on its training part."""
    if head not in HEADS:
        hint = did_you_mean(head, HEADS) or "."
        raise InputError([f"head is {head!r}{hint} AdvMIL has {', '.join(HEADS)}."])
    if head == "cox":
        return {}
    if head == "nll":
        cuts = [float(edge) for edge in edges or ()]
        if not cuts or cuts != sorted(set(cuts)) or cuts[0] <= 0:
            raise InputError(
                [
                    f"edges is {edges!r}; head 'nll' needs the rising cuts between its time bins, "
                    "in the unit of your patient table, as edges=[310,742,1511] for four bins."
                ]
            )
        return {"edges": [0.0, *cuts, float("inf")]}
    if isinstance(t_max, bool) or not isinstance(t_max, int | float) or not 0 < t_max < 1e12:
        raise InputError(
            [
                f"t_max is {t_max!r}; head {head!r} needs what its times are multiplied by, in the "
                "unit of your patient table: for time_format ratio the longest time of the whole "
                "table that AdvMIL was trained on (2701 days for its NLST), for origin one day."
            ]
        )
    return {"t_ref": float(t_max)}


def _kind_of_discriminator(state: dict[str, Tensor], fusion: str, term: str) -> dict[str, str]:
    """Return the options of a discriminator; its shapes tell ``cat`` and the absence of a term."""
    for name, value, known in (
        ("fusion", fusion, ("instance", "bag")),
        ("term", term, ("bag", "time")),
    ):
        if value not in known:
            raise InputError([f"{name} is {value!r}; it must be {' or '.join(known)}."])
    if "fc.weight" in state:
        return {"discriminator": "cat"}
    there = "prj_layer.weight" in state
    return {"discriminator": fusion, "discriminator_term": term if there else "none"}


def _renamed(
    state: dict[str, Tensor], module: nn.Module, names: dict[str, str]
) -> dict[str, Tensor]:
    """Return the module's parameters out of the original's; what it has no use for is left out."""
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    return {ours: state[name].reshape(shapes[ours]) for ours, name in names.items()}
