"""Seeds derived from the configuration's seed and the name of what is drawn for."""

import hashlib


def seed_for(seed: int, *names: object) -> int:
    """Return a 63-bit seed that depends on nothing but the configuration's seed and the names.

    Every random draw of the project is seeded this way (slide, patient, fold, stage), never from
    a global counter, so that the order in which jobs run cannot change a result.

    Parameters
    ----------
    seed : the seed of the configuration.
    names : what is drawn for, e.g. ``"train", "abmil-cox", 3``.
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
