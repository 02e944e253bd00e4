"""The hash table: every key has one slot, and is found there."""

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl

from colocam.kernels.launch import ceil_div
from colocam.kernels.permutohedral.hash_table_triton import append, find, insert

BLOCK = 128


@triton.jit
def _insert_all(table, keys, slots_out, listed, counter, count, slots, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    active = row < count
    key = tl.load(keys + row, mask=active, other=0)
    slot, created = insert(table, key, active, slots)
    append(listed, counter, 0, slot, created)
    tl.store(slots_out + row, slot, mask=active)


@triton.jit
def _find_all(table, keys, slots_out, count, slots, BLOCK: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    active = row < count
    key = tl.load(keys + row, mask=active, other=0)
    tl.store(slots_out + row, find(table, key, active, slots), mask=active)


@pytest.mark.parametrize(("lanes", "warps"), [(128, 4), (64, 2)])
def test_keys_inserted_by_many_programs_are_created_once(device, lanes, warps):
    distinct = torch.randint(2**62, (48,), generator=torch.Generator().manual_seed(0))
    programs = 20_000 if device.type == "cuda" else 20  # a race needs contention
    keys = distinct.repeat(ceil_div(programs * lanes, len(distinct))).to(device)
    table = torch.full((64,), -1, dtype=torch.int64, device=device)
    listed = torch.full((len(keys),), -7, dtype=torch.int32, device=device)
    slot, counter = torch.empty_like(listed), torch.zeros(1, dtype=torch.int32, device=device)
    _insert_all[(ceil_div(len(keys), lanes),)](
        table, keys, slot, listed, counter, len(keys), len(table), BLOCK=lanes, num_warps=warps
    )
    assert counter.item() == len(distinct)
    assert torch.equal(table[slot.long()], keys)


@pytest.mark.parametrize("free", [1, 50])
def test_every_key_has_one_slot_in_a_nearly_full_table(device, free):
    torch.manual_seed(free)
    distinct = torch.unique(torch.randint(2**62, (120,)))
    distinct = torch.cat([distinct, torch.arange(40), torch.tensor([2**62 - 1])])
    keys = torch.cat([distinct, distinct[torch.randint(len(distinct), (300,))]])
    keys = keys[torch.randperm(len(keys))].to(device)
    slots = len(distinct) + free
    table = torch.full((slots,), -1, dtype=torch.int64, device=device)
    slot, listed = (
        torch.full((size,), -7, dtype=torch.int32, device=device) for size in (len(keys), slots)
    )
    counter = torch.zeros(1, dtype=torch.int32, device=device)
    grid = (ceil_div(len(keys), BLOCK),)
    _insert_all[grid](table, keys, slot, listed, counter, len(keys), slots, BLOCK=BLOCK)
    assert torch.equal(table[slot.long()], keys)
    assert counter.item() == len(distinct)
    occupied = (table >= 0).nonzero().flatten()
    assert torch.equal(listed[: len(distinct)].sort().values.long(), occupied)
    assert (listed[len(distinct) :] == -7).all()
    assert torch.equal(table[occupied].sort().values.cpu(), distinct.sort().values)
    absent = torch.randint(2**61, (len(keys),)) + 2**60
    absent = absent[~torch.isin(absent, distinct)].to(device)
    for wanted, expected in ((keys, slot), (absent, torch.full_like(absent, -1).int())):
        found = torch.full((len(wanted),), -7, dtype=torch.int32, device=device)
        _find_all[grid](table, wanted, found, len(wanted), slots, BLOCK=BLOCK)
        assert torch.equal(found, expected)
