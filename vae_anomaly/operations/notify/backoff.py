"""When a message that did not get through is tried again."""

from __future__ import annotations

import hashlib

from vae_anomaly.domain import MICROSECONDS_PER_S

FIRST_DELAY_S = 60
MAX_DELAY_S = 3_600
"""A receiver that is back after a long time has its messages within the hour."""

MAX_RETRY_AFTER_S = 86_400
"""A receiver that asks for more is asked once a day all the same."""


def find_delay_us(key: str, *, tries: int, retry_after_s: float | None = None) -> int:
    """Choose the time until the next try: doubled each time, spread by the key.

    The spread, from half to the whole of the delay, keeps messages that failed together from
    coming back together. It is a hash, not chance: the same message gets the same times.

    Args:
        key: Key of the message.
        tries: Tries so far, at least 1.
        retry_after_s: What the receiver asked for, seconds; None where it did not.

    Returns:
        Microseconds.

    Example:
        >>> find_delay_us("a", tries=1) == find_delay_us("a", tries=1)
        True
        >>> find_delay_us("a", tries=1, retry_after_s=600) >= 600_000_000
        True
    """
    whole_s = min(FIRST_DELAY_S * 2 ** min(tries - 1, 10), MAX_DELAY_S)
    digest = hashlib.sha256(f"{key}:{tries}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    delay_s = whole_s * (0.5 + 0.5 * share)
    if retry_after_s is not None:
        delay_s = max(delay_s, min(retry_after_s, MAX_RETRY_AFTER_S))
    return int(delay_s * MICROSECONDS_PER_S)
