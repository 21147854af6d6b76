"""Which split a video falls into where nobody has chosen: by a hash, so that one person is never in two."""

from itertools import accumulate
from typing import Literal, get_args

from aura_model.seeds import derive_seed

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Shares = tuple[float, float, float]
"""Of train, val and test; they sum to 1."""


def split_by_hash(name: str, shares: Shares) -> Split:
    """The split of everything that bears this name: the same on every machine, in every order and in larger data sets.

    Args:
        name: the identity behind a video, or its video_id.
        shares: the expected share of the names in each split; one with the share 0 gets none.
    """
    place = derive_seed("split", name) / 2**64
    for split, end in zip(SPLITS, accumulate(shares), strict=True):
        if place < end:
            return split
    return max(zip(shares, SPLITS, strict=True))[1]  # the shares sum to a little less than 1
