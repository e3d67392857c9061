"""The two sides of the adversarial game on (slide, time) pairs."""

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

DISCRIMINATOR_LOSSES = ("bce", "bce_legacy", "hinge", "wasserstein")
GENERATOR_LOSSES = ("mean_logit", "non_saturating")
_LEGACY_FLOOR = 1e-8  # inside the original's logarithm; what stops the fake logits near -18


def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "bce") -> Tensor:
    r"""Return the discriminator's loss on logits of real and of generated pairs.

    - ``bce``: :math:`\overline{\mathrm{softplus}(-r)} + \overline{\mathrm{softplus}(f)}`
    - ``hinge``: :math:`\overline{\max(0, 1-r)} + \overline{\max(0, 1+f)}`
    - ``wasserstein``: :math:`\overline{f} - \overline{r}`
    - ``bce_legacy``: the published numbers' form, with a misplaced parenthesis: its fake part is
      :math:`-\overline{1 - \log(\sigma(f) + 10^{-8})}`, which pushes hardest where the
      discriminator is already right.

    The two means are taken separately; a side without pairs adds nothing.

    Parameters
    ----------
    real : [a], logits of patients with a seen event and their own time; a may be 0.
    fake : [b], logits of patients with a generated time, censored ones included; detached from the
        generator by the caller.
    kind : one of the four above.

    Returns
    -------
    Scalar; with neither side a zero attached to the graph.

    Raises
    ------
    ValueError : for another name of ``kind``.

    References
    ----------
    Goodfellow et al., NeurIPS 2014; Liu et al. (AdvMIL), Med. Image Anal. 2024.
    """
    if kind not in DISCRIMINATOR_LOSSES:
        raise ValueError(
            f"The discriminator's loss is {kind!r}; it must be 'bce', 'bce_legacy', 'hinge' or "
            "'wasserstein'."
        )
    if kind == "hinge":
        of_real, of_fake = relu(1 - real), relu(1 + fake)
    elif kind == "wasserstein":
        of_real, of_fake = -real, fake
    elif kind == "bce_legacy":
        # The original floors both logarithms.
        of_real = -(torch.sigmoid(real) + _LEGACY_FLOOR).log()
        of_fake = -(1 - (torch.sigmoid(fake) + _LEGACY_FLOOR).log())
    else:
        of_real, of_fake = softplus(-real), softplus(fake)
    return _mean_or_zero(of_real) + _mean_or_zero(of_fake)


def generator_loss(fake: Tensor, kind: str = "mean_logit") -> Tensor:
    """Return the generator's adversarial loss on the logits of its own pairs.

    Parameters
    ----------
    fake : [b], the discriminator's logits of generated pairs, attached to the generator.
    kind : ``mean_logit`` (minus the mean logit, as published) or ``non_saturating`` (mean softplus
        of minus the logit, the natural partner of ``bce``).

    Returns
    -------
    Scalar; for no pairs a zero attached to the graph.

    Raises
    ------
    ValueError : for another name of ``kind``.
    """
    if kind not in GENERATOR_LOSSES:
        raise ValueError(
            f"The generator's loss is {kind!r}; it must be 'mean_logit' or 'non_saturating'."
        )
    return _mean_or_zero(-fake if kind == "mean_logit" else softplus(-fake))


def _mean_or_zero(values: Tensor) -> Tensor:
    """Return the mean, or a zero attached to the graph where there are no values."""
    return values.mean() if values.numel() else values.sum()
