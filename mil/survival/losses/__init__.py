"""Training losses on censored times (PyTorch). Undefined losses are zeros attached to the graph."""

from mil.survival.losses.adversarial import discriminator_loss, generator_loss
from mil.survival.losses.cox import cox_loss
from mil.survival.losses.crps import crps_loss
from mil.survival.losses.legacy import legacy_cox_loss
from mil.survival.losses.nll import assign_bins, fit_bins, hazards_to_survival, nll_loss
from mil.survival.losses.ranking import ranking_loss
from mil.survival.losses.regression import recon_loss

__all__ = [
    "assign_bins",
    "cox_loss",
    "crps_loss",
    "discriminator_loss",
    "fit_bins",
    "generator_loss",
    "hazards_to_survival",
    "legacy_cox_loss",
    "nll_loss",
    "ranking_loss",
    "recon_loss",
]
