"""How an endpoint's traffic moves from the deployments that have it to another one; pure."""

from __future__ import annotations

from collections.abc import Mapping

Split = dict[str, int]
"""Percent by deployed model's id; the values add up to 100, or there are none."""
WHOLE = 100


def moved(split: Mapping[str, int], target: str, percent: int) -> Split:
    """The split in which one deployment has a given share, and the others the rest in proportion to theirs.

    Args:
        split: as it is.
        target: id of the deployment.
        percent: its share, 1 to 100; all of it where no other has traffic.
    """
    others = {id: share for id, share in split.items() if id != target and share > 0}
    if not others:
        return {target: WHOLE}
    return {**_scaled(others, WHOLE - percent), target: percent}


def without(split: Mapping[str, int], target: str) -> Split:
    """The split in which the others have what one deployment had; empty where no other has traffic."""
    return _scaled({id: share for id, share in split.items() if id != target and share > 0}, WHOLE)


def _scaled(shares: Mapping[str, int], total: int) -> Split:
    """Shares in the same proportion, in whole percents that add up to a total; the largest takes the rest."""
    if not shares or total <= 0:
        return {}
    whole = sum(shares.values())
    scaled = {id: share * total // whole for id, share in shares.items()}
    largest = max(shares, key=lambda id: (shares[id], id))
    scaled[largest] += total - sum(scaled.values())
    return {id: share for id, share in scaled.items() if share > 0}
