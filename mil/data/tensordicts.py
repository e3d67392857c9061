"""Bags to and from ``tensordict.TensorDict``, which torchmil's data sets and loaders give."""

from typing import TYPE_CHECKING

from mil.bags import Bag
from mil.data.padding import bag_of, packed, padded
from mil.problems import InputError

if TYPE_CHECKING:
    from tensordict import TensorDict


def to_tensordict(bag: Bag) -> "TensorDict":
    """Return bags as a padded TensorDict of batch size [B]; see ``mil.data.padding`` for the keys.

    Raises
    ------
    mil.problems.InputError : the package tensordict is not installed.
    """
    try:
        from tensordict import TensorDict
    except ModuleNotFoundError as error:
        raise InputError(
            ["to_tensordict needs the package tensordict: pip install tensordict."]
        ) from error
    return TensorDict(padded(bag), batch_size=[len(bag)])


def from_tensordict(tensors: "TensorDict") -> Bag:
    """Return the bags of a padded TensorDict, or the bag of one without a batch size.

    Raises
    ------
    mil.bags.BagError : see ``mil.data.padding.packed``.
    """
    record = {key: tensors[key] for key in tensors.keys()}
    return packed(record) if len(tensors.batch_size) else bag_of(record)
