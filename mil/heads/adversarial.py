"""AdvMIL's generator: samples of the time, from a bag embedding and noise."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mil.discriminator import FUSIONS, TERMS, Discriminator
from mil.heads import register
from mil.heads.base import HeadError, Labels, Prediction
from mil.heads.timed import TimedHead
from mil.nn.initialise import xavier_linear_
from mil.score_options import why_no_score
from mil.survival.losses.adversarial import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES, generator_loss
from mil.survival.losses.crps import crps_loss


@register("adversarial")
class AdversarialHead(TimedHead):
    r"""Generator of times, trained against a discriminator (Liu et al., AdvMIL, 2024).

    Layers ``d -> d/2 -> 1``; a layer whose flag in ``noise`` is 1 reads ``[input, z]`` with fresh
    noise z as wide as its input. The last output goes through ``output`` and is a time in units of
    ``t_ref``. The loss is :math:`L_{time} + \lambda L_{adv}`. Noise enters here only, so S draws
    cost one pass of the model.

    Parameters
    ----------
    width : width d of the embedding.
    fitted : ``t_ref``, the longest time of the training part.
    noise : a 0 or 1 for each layer, e.g. ``0-1`` (as published); one more layer halves d again.
    distribution : of the noise, ``uniform`` on [0, 1) or standard ``gaussian``.
    output : ``softplus``, ``exp``, ``sigmoid`` (published: no time can exceed ``t_ref``) or
        ``identity``.
    layer_norm : normalise hidden layers before their ReLU.
    dropout : after every hidden layer.
    adversarial_weight : lambda; with 0 there is no discriminator.
    training_draws : of a patient in a step of the generator. L_time is of all of them, the
        adversarial loss of the first.
    generator_loss : ``mean_logit`` (published) or ``non_saturating``.
    generator_updates : steps of the generator for one of the discriminator.
    discriminator_loss : ``bce``, ``hinge``, ``wasserstein``, or ``bce_legacy`` (published numbers).
    discriminator : ``instance`` (RLIP), ``bag`` or ``cat``.
    discriminator_term : ``bag`` (published), ``time`` or ``none``, see ``mil.discriminator``.
    norm : of L_time, ``l1``, ``l2``, or ``crps``, the score of a patient's draws together: least
        where they have the distribution of the time, and not where all are its median.
    alpha, gamma, ranking_weight, ranking_margin : of L_time, see ``TimedHead``.
    """

    loss_norms = (*TimedHead.loss_norms, "crps")
    learning_rate: ClassVar[float] = 8e-5
    weight_decay: ClassVar[float] = 5e-4

    def __init__(
        self,
        width: int,
        fitted: dict[str, Any],
        noise: str = "0-1",
        distribution: str = "uniform",
        output: str = "softplus",
        layer_norm: bool = False,
        dropout: float = 0.6,
        adversarial_weight: float = 0.004,
        training_draws: int = 1,
        generator_loss: str = "mean_logit",
        generator_updates: int = 1,
        discriminator_loss: str = "bce",
        discriminator: str = "instance",
        discriminator_term: str = "bag",
        norm: str = "l1",
        alpha: float = 0.0,
        gamma: float = 0.0,
        ranking_weight: float = 0.0,
        ranking_margin: float = 0.1,
    ) -> None:
        super().__init__(fitted, output, norm, alpha, gamma, ranking_weight, ranking_margin)
        flags = str(noise).split("-")
        if not set(flags) <= {"0", "1"}:
            raise HeadError(
                f"head 'adversarial': noise is {noise!r}; it must be zeros and ones joined by "
                "dashes, as 0-1."
            )
        if obstacle := why_no_score(norm, training_draws, str(noise), gamma):
            raise HeadError(f"head 'adversarial': norm is crps, but {obstacle}")
        self.check("distribution", distribution, ("uniform", "gaussian"))
        self.check("generator_loss", generator_loss, GENERATOR_LOSSES)
        self.check("discriminator_loss", discriminator_loss, DISCRIMINATOR_LOSSES)
        self.check("discriminator", discriminator, FUSIONS)
        self.check("discriminator_term", discriminator_term, TERMS)
        self.distribution = distribution
        self.adversarial_weight = adversarial_weight
        self.training_draws = training_draws
        self.generator_loss = generator_loss
        self.updates = generator_updates
        self.discriminator_loss = discriminator_loss
        self.fusion, self.term = discriminator, discriminator_term

        widths = [max(width >> i, 1) for i in range(len(flags))]  # d, d/2, ...
        self.noise_widths = [w if f == "1" else 0 for w, f in zip(widths, flags, strict=True)]
        self.layers = nn.ModuleList(
            nn.Linear(w + z, out)
            for w, z, out in zip(widths, self.noise_widths, [*widths[1:], 1], strict=True)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(w) if layer_norm else nn.Identity() for w in widths[1:]
        )
        self.drop = nn.Dropout(dropout)
        xavier_linear_(self)

    def take_outputs(self, model: str) -> None:
        """Refuse: noise enters in the layers."""
        raise HeadError(
            f"head 'adversarial': model {model!r} gives outputs itself, so there is no layer that "
            "noise could enter. Take head: time, or a model that gives a vector."
        )

    def opponent(self, in_dim: int) -> Discriminator | None:
        """Return a discriminator of (bag, time) pairs."""
        if self.adversarial_weight == 0:
            return None
        return Discriminator(in_dim, self.fusion, self.term)

    def noise(self, patients: int, draws: int, generator: torch.Generator) -> Tensor:
        """Return noise [patients, draws, W] from ``generator``; one draw where all flags are 0."""
        width = sum(self.noise_widths)
        shape = (patients, draws if width else 1, width)
        draw = torch.rand if self.distribution == "uniform" else torch.randn
        return draw(shape, generator=generator)

    def logits(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the last layer's output [B, S] for vectors [B, H] and noise [B, S, W]."""
        x = vector.unsqueeze(1)  # [B, 1, H]
        *hidden, last = zip(self.layers, noise.split(self.noise_widths, dim=-1), strict=True)
        for (layer, z), norm in zip(hidden, self.norms, strict=True):
            x = self.drop(norm(layer(_beside(x, z))).relu())  # [B, 1 or S, H/2]
        layer, z = last
        return layer(_beside(x, z)).squeeze(-1)

    def adversarial_loss(self, logits: Tensor) -> Tensor:
        """Return lambda times the generator's loss on the discriminator's logits."""
        return self.adversarial_weight * generator_loss(logits, self.generator_loss)

    def own_loss(self, output: Tensor, labels: Labels) -> Tensor:
        """Return L_time of all draws."""
        if self.norm == "crps":
            return crps_loss(output, self.scaled(labels), labels.event, self.alpha)
        return super().own_loss(output, labels)

    def monitored(self, output: Tensor, labels: Labels) -> Tensor:
        """Return the loss of the median draw or, with ``crps``, the score of the draws."""
        if self.norm == "crps":
            return crps_loss(output, self.scaled(labels), labels.event)
        return super().monitored(output, labels)

    def predict(self, output: Tensor) -> Prediction:
        """Return the median draw (of an even number the lower middle one) and all draws."""
        point = super().predict(output)
        draws = (output.double().numpy() * self.t_ref).astype(np.float32)
        return Prediction(point.risk, point.time, draws)

    def complaints(self, prediction: Prediction) -> list[str]:
        """Return sentences on collapsed spread, besides those on predictions at a bound."""
        found = super().complaints(prediction)
        draws, time = prediction.draws.astype(np.float64), prediction.time
        if draws.shape[1] > 1:
            low, high = np.quantile(draws, [0.25, 0.75], axis=1)
            spread = np.median((high - low) / np.maximum(np.abs(time), 1e-12))
            if spread < 0.01:
                found.append(
                    f"the draws of a patient hardly differ (median IQR/median {spread:.2g}, under "
                    "0.01): read the intervals as a point."
                )
        return found


def _beside(x: Tensor, z: Tensor) -> Tensor:
    """Return ``[x, z]``, hidden first, for every draw; x where a layer has no noise."""
    return torch.cat([x.expand(-1, z.shape[1], -1), z], -1) if z.shape[-1] else x
