"""The smooth top-1 support vector machine."""

import torch
from torch import Tensor


def smooth_svm_loss(
    scores: Tensor, target: Tensor, margin: float = 1.0, temperature: float = 1.0
) -> Tensor:
    r"""Return the smooth top-1 SVM loss of each row (Berrada, Zisserman and Kumar, ICLR 2018).

    .. math:: \ell(s, y) = \tau \log \sum_j \exp\frac{s_j - s_y + \alpha [j \neq y]}{\tau}

    The published code turns to the hard maximum where the highest score leads by
    :math:`\tau \ln 1000`: a numerical device that this form does not need (the values differ by
    less than 0.003).

    Parameters
    ----------
    margin : alpha.
    temperature : tau; towards 0 the loss becomes the multi-class hinge.

    Shapes
    ------
    scores [M, C], target [M] int64 -> losses [M].

    Raises
    ------
    ValueError : targets of another shape; [M, 1] would compare every row with every other.
    """
    if target.shape != scores.shape[:1]:
        raise ValueError(
            f"targets of shape {list(target.shape)} for scores of shape {list(scores.shape)}; they "
            f"must be [{len(scores)}]."
        )
    own = target.unsqueeze(1)
    margins = torch.full_like(scores, margin).scatter(1, own, 0.0)
    raised = (scores - scores.gather(1, own) + margins) / temperature
    return temperature * raised.logsumexp(1)
