"""A hash table of 64-bit keys in Triton: open addressing, linear probing, compare-and-swap.

A table is an int64 tensor filled with EMPTY. A key's place never changes once it is in, so the
place itself serves as the key's number. There must be more places than different keys.

`insert` takes at least as many keys as a program has threads. Where there are fewer, Triton gives
some of them to two threads: both read the table, at different times, while only one of them
compares and swaps, and a program whose threads disagree on what it saw puts keys in twice.
"""

import triton
import triton.language as tl

EMPTY = tl.constexpr(-1)  # keys are >= 0
ABSENT = tl.constexpr(-2)  # what no place ever holds


@triton.jit
def _first_place(key, places):
    """Where probing for a key begins: 0...places-1, by Fibonacci hashing."""
    mixed = key.to(tl.uint64)
    mixed = (mixed ^ (mixed >> 29)) * 0x9E3779B97F4A7C15
    return (((mixed >> 32) * places.to(tl.uint64)) >> 32).to(tl.int32)


@triton.jit
def _next_place(place, places):
    return tl.where(place + 1 < places, place + 1, 0)


@triton.jit
def insert(table, key, active, places):
    """Put keys in; equal keys share a place.

    Returns each active key's place, and whether it was this one that put it in.
    """
    place = _first_place(key, places)
    created = active & (key == ABSENT)
    pending = active
    while tl.max(pending.to(tl.int32)) > 0:
        # a stale EMPTY is possible, and harmless: the compare-and-swap knows better
        held = tl.load(table + place, mask=pending, other=ABSENT)
        arrived = pending & (held == key)
        empty = pending & (held == EMPTY)
        if tl.max(empty.to(tl.int32)) > 0:
            # there is no masked compare-and-swap: the others expect what no place holds
            expected = tl.where(empty, EMPTY, ABSENT).to(tl.int64)
            before = tl.atomic_cas(table + place, expected, key, sem="relaxed")
            won = empty & (before == EMPTY)
            created = created | won
            arrived = arrived | won | (empty & (before == key))
        pending = pending & (arrived == 0)
        place = tl.where(pending, _next_place(place, places), place)
    return place, created


@triton.jit
def find(table, key, active, places):
    """The places of keys, -1 where a key is not in the table or not active."""
    place = _first_place(key, places)
    found = tl.full(key.shape, -1, tl.int32)
    pending = active
    while tl.max(pending.to(tl.int32)) > 0:
        held = tl.load(table + place, mask=pending, other=ABSENT)
        found = tl.where(pending & (held == key), place, found)
        pending = pending & (held != key) & (held != EMPTY)
        place = _next_place(place, places)
    return found


@triton.jit
def append(listed, counter, first, item, chosen):
    """Append the chosen items to listed[first:], in any order; counter holds how many there are."""
    flags = chosen.to(tl.int32)
    total = tl.sum(flags, axis=0)
    if total > 0:
        start = first + tl.atomic_add(counter, total, sem="relaxed")
        tl.store(listed + start + tl.cumsum(flags, axis=0) - 1, item, mask=chosen)
