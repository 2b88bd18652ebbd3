"""A funder's quota dealt to the cells. Pure. None stands for no limit, everywhere.

A quota is one figure, the cells are many, and a draw may ask its own cell only. So each cell holds a part
of the quota, and the parts never sum to more than it: they are lowered first, raised only by what the
lowering is known to have freed. Whatever is interrupted, too little can be lent, never too much.
"""

from collections.abc import Sequence


def deal_quota(quota_fen: int, used_fen: Sequence[int]) -> tuple[int, ...]:
    """Return each cell's part: what it has used, and an even part of what is left.

    >>> deal_quota(100, [30, 10])
    (60, 40)
    """
    left_fen = max(0, quota_fen - sum(used_fen))
    each, rest = divmod(left_fen, len(used_fen))
    return tuple(used + each + (n < rest) for n, used in enumerate(used_fen))


def plan_raises(quota_fen: int, lowered_fen: Sequence[int], wanted_fen: Sequence[int]) -> tuple[int, ...]:
    """Return what each cell may be raised to after all were lowered to `lowered_fen`.

    A cell that used more meanwhile kept more; the others get that much less, in their order.

    >>> plan_raises(100, [70, 10], [60, 40])
    (70, 30)
    """
    free_fen = max(0, quota_fen - sum(lowered_fen))
    raised = []
    for lowered, wanted in zip(lowered_fen, wanted_fen, strict=True):
        more_fen = min(max(0, wanted - lowered), free_fen)
        free_fen -= more_fen
        raised.append(lowered + more_fen)
    return tuple(raised)
