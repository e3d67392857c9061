"""What the score of draws, ``norm: crps``, asks of the other options of the adversarial head."""

from typing import Any


def why_no_score(
    norm: str = "l1",
    training_draws: int = 1,
    noise: str = "0-1",
    gamma: float = 0.0,
    **others: Any,
) -> str | None:
    """Return what is in the way of scoring a patient's draws, if anything; defaults are the head's.

    Parameters
    ----------
    norm, training_draws, noise, gamma : ``head_options`` of the adversarial head.
    others : the rest of them, which do not matter.
    """
    if norm != "crps":
        return None
    if training_draws < 2:
        return (
            f"training_draws is {training_draws}; it compares the draws of a patient, so take 2 or "
            "more (16 is good)."
        )
    if "1" not in noise:
        return f"noise is {noise}, so that there is one draw; give a layer noise, as 1-1."
    if gamma > 0:
        return f"gamma is {gamma}; the score has no margin, leave it 0."
    return None
