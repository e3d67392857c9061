"""AdvMIL's generator: samples of the time, from a bag embedding and noise."""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from mil.discriminator import FUSIONS, Discriminator
from mil.heads import register
from mil.heads.base import Head, HeadError, Labels, Prediction
from mil.nn.initialise import xavier_linear_
from mil.survival.losses.adversarial import generator_loss
from mil.survival.losses.regression import recon_loss

OUTPUTS = {"softplus": softplus, "sigmoid": torch.sigmoid, "exp": torch.exp}


@register("adversarial")
class AdversarialHead(Head):
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
    output : ``softplus``, ``exp``, or ``sigmoid`` (published: no time can exceed ``t_ref``).
    dropout : after every hidden layer.
    adversarial_weight : lambda; with 0 there is no discriminator.
    generator_loss : ``mean_logit`` (published) or ``non_saturating``.
    discriminator_loss : ``bce``, ``hinge``, ``wasserstein``, or ``bce_legacy`` (published numbers).
    discriminator : ``instance`` (RLIP), ``bag`` or ``cat``.
    norm, alpha, gamma : of L_time, see ``mil.survival.losses.regression``; gamma in units of t_ref.
    """

    learning_rate: ClassVar[float] = 8e-5
    weight_decay: ClassVar[float] = 5e-4

    def __init__(
        self,
        width: int,
        fitted: dict[str, Any],
        noise: str = "0-1",
        distribution: str = "uniform",
        output: str = "softplus",
        dropout: float = 0.6,
        adversarial_weight: float = 0.004,
        generator_loss: str = "mean_logit",
        discriminator_loss: str = "bce",
        discriminator: str = "instance",
        norm: str = "l1",
        alpha: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        super().__init__()
        flags = str(noise).split("-")
        choices = [
            ("noise", noise, set(flags) <= {"0", "1"}, "zeros and ones joined by dashes, as 0-1"),
            ("distribution", distribution, distribution in ("uniform", "gaussian"), None),
            ("output", output, output in OUTPUTS, ", ".join(OUTPUTS)),
            ("discriminator", discriminator, discriminator in FUSIONS, ", ".join(FUSIONS)),
        ]
        for key, value, fine, allowed in choices:
            if not fine:
                raise HeadError(
                    f"head 'adversarial': {key} is {value!r}; it must be "
                    f"{allowed or 'uniform or gaussian'}."
                )
        self.t_ref = float(fitted["t_ref"])
        self.distribution = distribution
        self.output = output
        self.adversarial_weight = adversarial_weight
        self.generator_loss = generator_loss
        self.discriminator_loss = discriminator_loss
        self.fusion = discriminator
        self.norm, self.alpha, self.gamma = norm, alpha, gamma

        widths = [max(width >> i, 1) for i in range(len(flags))]  # d, d/2, ...
        self.noise_widths = [w if f == "1" else 0 for w, f in zip(widths, flags, strict=True)]
        self.layers = nn.ModuleList(
            nn.Linear(w + z, out)
            for w, z, out in zip(widths, self.noise_widths, [*widths[1:], 1], strict=True)
        )
        self.drop = nn.Dropout(dropout)
        xavier_linear_(self)

    @classmethod
    def fit(cls, time: NDArray, event: NDArray, **options: Any) -> dict[str, Any]:
        """Return ``t_ref``, the longest training time."""
        return {"t_ref": float(np.max(time))}

    def opponent(self, in_dim: int) -> Discriminator | None:
        """Return a discriminator of (bag, time) pairs."""
        return Discriminator(in_dim, self.fusion) if self.adversarial_weight > 0 else None

    def noise(self, patients: int, draws: int, generator: torch.Generator) -> Tensor:
        """Return noise [patients, draws, W] from ``generator``; one draw where all flags are 0."""
        width = sum(self.noise_widths)
        shape = (patients, draws if width else 1, width)
        draw = torch.rand if self.distribution == "uniform" else torch.randn
        return draw(shape, generator=generator)

    def logits(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return the last layer's output [B, S] for vectors [B, H] and noise [B, S, W]."""
        x = vector.unsqueeze(1)  # [B, 1, H]
        last = len(self.layers) - 1
        parts = noise.split(self.noise_widths, dim=-1)
        for i, (layer, z) in enumerate(zip(self.layers, parts, strict=True)):
            if z.shape[-1]:
                x = torch.cat([x.expand(-1, z.shape[1], -1), z], -1)  # hidden first, then noise
            x = layer(x)
            if i < last:
                x = self.drop(x.relu())
        return x.squeeze(-1)

    def forward(self, vector: Tensor, noise: Tensor) -> Tensor:
        """Return sampled times [B, S] in units of ``t_ref``."""
        return OUTPUTS[self.output](self.logits(vector, noise))

    def scaled(self, labels: Labels) -> Tensor:
        """Return the observed times [B] in units of ``t_ref``, float32."""
        return (labels.time / self.t_ref).float()

    def loss(self, output: Tensor, labels: Labels) -> Tensor:
        """Return L_time of the first draw."""
        time = self.scaled(labels)
        return recon_loss(output[:, 0], time, labels.event, self.norm, self.alpha, self.gamma)

    def adversarial_loss(self, logits: Tensor) -> Tensor:
        """Return lambda times the generator's loss on the discriminator's logits."""
        return self.adversarial_weight * generator_loss(logits, self.generator_loss)

    def monitored(self, output: Tensor, labels: Labels) -> Tensor:
        """Return L_time of the median draw, censored patients at full weight."""
        median = output.median(1).values
        return recon_loss(median, self.scaled(labels), labels.event, self.norm)

    def predict(self, output: Tensor) -> Prediction:
        """Return the median draw (of an even number the lower middle one) and all draws."""
        time = output.median(1).values.double().numpy() * self.t_ref
        draws = (output.double().numpy() * self.t_ref).astype(np.float32)
        return Prediction(-time, time, draws)

    def complaints(self, prediction: Prediction) -> list[str]:
        """Return sentences on collapsed spread and on predictions at a bound."""
        found = super().complaints(prediction)
        draws, time = prediction.draws.astype(np.float64), prediction.time
        if draws.shape[1] > 1:
            low, high = np.quantile(draws, [0.25, 0.75], axis=1)
            spread = np.median((high - low) / np.maximum(time, 1e-12))
            if spread < 0.01:
                found.append(
                    f"the draws of a patient hardly differ (median IQR/median {spread:.2g}, under "
                    "0.01): read the intervals as a point."
                )
        at_bound = time < 1e-3 * self.t_ref
        if self.output == "sigmoid":
            at_bound |= time > 0.999 * self.t_ref
        if at_bound.mean() > 0.05:
            found.append(f"{at_bound.mean():.0%} of the predicted times lie at the output's bound.")
        return found
