"""All that the rest of a training depends on, so that it can be put away and taken up."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from mil.training.early_stopping import EarlyStopping
from mil.training.history import Epoch
from mil.training.step import Stepper


@dataclass
class TrainingState:
    """What changes from epoch to epoch.

    Attributes
    ----------
    stepper : networks, optimisers and the noise of the head.
    schedule, stopping : what the validation values so far have led to.
    order, fresh : generators of the order of patients and of legacy validation noise.
    epochs : the history.
    kept : state of the best epoch's networks; empty before there is one.
    """

    stepper: Stepper
    schedule: LRScheduler
    stopping: EarlyStopping
    order: torch.Generator
    fresh: torch.Generator
    epochs: list[Epoch] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Return everything, PyTorch's own generators too, as tensors, numbers and text."""
        gpu = self.stepper.device.type == "cuda"
        return {
            "stepper": self.stepper.state_dict(),
            "schedule": self.schedule.state_dict(),
            "stopping": vars(self.stopping),
            "order": self.order.get_state(),
            "fresh": self.fresh.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout_gpu": torch.cuda.get_rng_state(self.stepper.device) if gpu else None,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "kept": self.kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned, on the same kind of device."""
        self.stepper.load_state_dict(state["stepper"])
        self.schedule.load_state_dict(state["schedule"])
        vars(self.stopping).update(state["stopping"])
        self.order.set_state(state["order"])
        self.fresh.set_state(state["fresh"])
        torch.set_rng_state(state["dropout"])
        if state["dropout_gpu"] is not None:
            torch.cuda.set_rng_state(state["dropout_gpu"], self.stepper.device)
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.kept = state["kept"]
