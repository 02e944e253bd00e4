"""The k-th largest key of each of many rows, by counting digits from the highest (radix select).

Keys are the bits of non-negative float32 numbers as int32, whose order is that of the numbers; a
negative key is excluded. A key has four digits of eight bits. `counts` (4, rows, 256) holds the
number of keys of each value of a digit, among those that agree with the k-th largest in all higher
digits; four launches of `count_digits` fill it.
"""

import triton
import triton.language as tl

DIGITS = tl.constexpr(4)
VALUES = tl.constexpr(256)  # of a digit


@triton.jit
def wanted_keys(counts, row, half, count, share, SHARE: tl.constexpr):
    """k of a row: `count` or, with SHARE in the first half of the rows, ⌈share · its keys⌉.

    At least one, and at most as many as the row has, which may be none.
    """
    keys = tl.sum(tl.load(counts + row * VALUES + tl.arange(0, VALUES)), axis=0)
    wanted = count
    if SHARE:
        rounded_up = tl.maximum(tl.ceil(keys.to(tl.float32) * share), 1.0).to(tl.int32)
        wanted = tl.where(row < half, rounded_up, count)
    return tl.minimum(wanted, keys)


@triton.jit
def upper_digits(counts, row, rows, half, count, share, SHARE: tl.constexpr, KNOWN: tl.constexpr):
    """The highest KNOWN digits of the k-th largest key of a row, as a number.

    Negative if no key is wanted.
    """
    digits = row * 0
    if KNOWN > 0:
        rest = wanted_keys(counts, row, half, count, share, SHARE)
        value = tl.arange(0, VALUES)
        for place in tl.static_range(KNOWN):
            number = tl.load(counts + (place * rows + row) * VALUES + value)
            at_least = tl.sum(number, axis=0) - tl.cumsum(number, axis=0) + number
            digit = tl.sum(((at_least >= rest) & (rest > 0)).to(tl.int32), axis=0) - 1
            rest -= tl.sum(tl.where(value > digit, number, 0), axis=0)
            digits = digits * VALUES + digit
    return digits


@triton.jit
def least_key(counts, row, rows, half, count, share, SHARE: tl.constexpr):
    """The k-th largest key of a row; larger than any key if none is wanted."""
    least = upper_digits(counts, row, rows, half, count, share, SHARE, DIGITS)
    return tl.where(least < 0, 0x7FFFFFFF, least)


@triton.jit
def count_digits(
    keys, counts, rows, half, plane, count, share,
    PLACE: tl.constexpr, SHARE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """counts[PLACE, row, digit] += keys (rows, plane) that agree in the digits above PLACE."""
    row = tl.program_id(0)
    known = upper_digits(counts, row, rows, half, count, share, SHARE, PLACE)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    key = tl.load(keys + row.to(tl.int64) * plane + at, mask=at < plane, other=-1)
    chosen = key >= 0
    if PLACE > 0:
        chosen = chosen & (key >> (32 - 8 * PLACE) == known)
    digit = key >> (24 - 8 * PLACE) & (VALUES - 1)
    number = tl.histogram(tl.where(chosen, digit, 0), VALUES, mask=chosen)
    to = counts + (PLACE * rows + row) * VALUES + tl.arange(0, VALUES)
    tl.atomic_add(to, number, mask=number > 0, sem="relaxed")
