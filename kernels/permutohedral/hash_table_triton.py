"""Hash table of 64-bit keys in Triton: open addressing, linear probing, compare-and-swap.

A table is an int64 tensor of `slots` entries, filled with EMPTY. A key never moves once it is
inserted, so that its slot serves as its number. A table must have more slots than distinct keys.

`insert` needs at least as many keys as the program has threads. With fewer keys Triton replicates
some of them in two threads: both read the table, at different times, while only one of them
compares and swaps, and threads that see different values insert a key twice.
"""

import triton
import triton.language as tl

EMPTY = tl.constexpr(-1)  # keys are >= 0
ABSENT = tl.constexpr(-2)  # never stored in a table


@triton.jit
def _first_slot(key, slots):
    """First slot of the probe sequence of a key, by Fibonacci hashing: 0...slots-1."""
    mixed = key.to(tl.uint64)
    mixed = (mixed ^ (mixed >> 29)) * 0x9E3779B97F4A7C15
    return (((mixed >> 32) * slots.to(tl.uint64)) >> 32).to(tl.int32)


@triton.jit
def _next_slot(slot, slots):
    return tl.where(slot + 1 < slots, slot + 1, 0)


@triton.jit
def insert(table, key, active, slots):
    """Inserts keys; equal keys share a slot.

    Returns the slot of each active key, and the mask of keys that this call inserted.
    """
    slot = _first_slot(key, slots)
    created = active & (key == ABSENT)
    pending = active
    while tl.max(pending.to(tl.int32)) > 0:
        # a stale EMPTY is possible and harmless: the compare-and-swap reads the current value
        held = tl.load(table + slot, mask=pending, other=ABSENT)
        arrived = pending & (held == key)
        empty = pending & (held == EMPTY)
        if tl.max(empty.to(tl.int32)) > 0:
            # compare-and-swap has no mask: other keys expect ABSENT, which no slot holds
            expected = tl.where(empty, EMPTY, ABSENT).to(tl.int64)
            before = tl.atomic_cas(table + slot, expected, key, sem="relaxed")
            won = empty & (before == EMPTY)
            created = created | won
            arrived = arrived | won | (empty & (before == key))
        pending = pending & (arrived == 0)
        slot = tl.where(pending, _next_slot(slot, slots), slot)
    return slot, created


@triton.jit
def find(table, key, active, slots):
    """Slots of keys; -1 where a key is not in the table or not active."""
    slot = _first_slot(key, slots)
    found = tl.full(key.shape, -1, tl.int32)
    pending = active
    while tl.max(pending.to(tl.int32)) > 0:
        held = tl.load(table + slot, mask=pending, other=ABSENT)
        found = tl.where(pending & (held == key), slot, found)
        pending = pending & (held != key) & (held != EMPTY)
        slot = _next_slot(slot, slots)
    return found


@triton.jit
def append(listed, counter, first, item, chosen):
    """Appends the chosen items to listed[first:], in any order; counter is the list's length.

    Returns the index in `listed` of each chosen item.
    """
    flags = chosen.to(tl.int32)
    total = tl.sum(flags, axis=0)
    at = tl.zeros_like(flags)
    if total > 0:
        start = first + tl.atomic_add(counter, total, sem="relaxed")
        at = start + tl.cumsum(flags, axis=0) - 1
        tl.store(listed + at, item, mask=chosen)
    return at
