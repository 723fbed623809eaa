"""Rows counted by what they share, in one pass over numbers."""

from typing import Any

import numpy as np

from hoptrace.transforms.jit import compiled, mix

Array = np.ndarray[Any, Any]


@compiled
def _entry(keys: Any, slots: Any, key: Any, known: Any) -> Any:
    """The number of a key among the `known` ones; `known` itself, entered, where it is new."""
    mask = np.uint64(slots.size - 1)
    at = key & mask
    while slots[at] >= 0:
        if keys[slots[at]] == key:
            return np.int64(slots[at])
        at = (at + np.uint64(1)) & mask
    slots[at] = known
    keys[known] = key
    return known


@compiled
def _tally(
    order: Any, mine: Any, words: Any, values: Any, hours: Any, buckets: Any, messages: Any, amounts: Any,
    keys: Any, slots: Any, seen: Any, seen_slots: Any, rows: Any, sums: Any,
) -> Any:  # fmt: skip
    """Fills rows (the first of each key), sums[0] (amounts) and sums[1] (messages first seen there); how many keys there are."""
    known = np.int64(0)
    met = np.int64(0)
    for n in range(order.size):
        k = order[n]
        if values[k] < 0:
            continue
        series = mix(words[k] ^ (np.uint64(values[k]) * np.uint64(0x9FB21C651E98DF25)))
        number = _entry(seen, seen_slots, mix(series + messages[k]), met)
        new = number == met
        met += new
        if not mine[k]:
            continue
        place = np.uint64(hours[k]) * np.uint64(0xD6E8FEB86659FD93) + np.uint64(buckets[k] + 2)
        key = mix(series ^ mix(place))
        entry = _entry(keys, slots, key, known)
        if entry == known:
            rows[known] = k
            sums[0, known] = 0
            sums[1, known] = 0
            known += 1
        sums[0, entry] += amounts[k]
        sums[1, entry] += new
    return known


def tally(
    order: Array,
    mine: Array,
    words: Array,
    values: Array,
    hours: Array,
    buckets: Array,
    messages: Array,
    amounts: Array,
) -> tuple[Array, Array]:
    """(rows, sums): for each (words, value, hour, bucket) of the rows that are `mine` the place of one of them; the sum of their
    amounts, and how many messages have their first row of all of those words and that value there.

    Args:
        order: the places of the rows, first to last. mine: of each row whether it counts (bool).
        words, messages: hashes (uint64). values: numbers; rows whose value is below 0 are left out.
        hours: int64. buckets: int16, -1 for none. amounts: what is summed (int64).

    """
    size = words.size
    room = 2 << size.bit_length()
    keys, seen = np.empty((2, size), np.uint64)
    slots, seen_slots = np.full((2, room), -1, np.int32)
    rows, sums = np.empty(size, np.int64), np.empty((2, size), np.int64)
    known = _tally(
        order, mine, words, values, hours, buckets, messages, amounts, keys, slots, seen, seen_slots, rows, sums
    )  # fmt: skip
    return rows[:known], sums[:, :known]
