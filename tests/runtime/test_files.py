"""Files are written atomically, and damage to a tensor file is always detected."""

import errno
import os
import stat
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from colocam.runtime.errors import UserError
from colocam.runtime.files import (
    read_header,
    read_tensors,
    remove_unfinished,
    write_atomic,
    write_tensors,
)

HEADER = {"format": "test", "entries": '{"name": "chat à l\'école"}'}
TENSORS = {
    "weight": torch.tensor([[0.5, -2.0], [3.0, 1e-20]]),
    "steps": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
}
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def tensor_file(tmp_path):
    path = tmp_path / "some.safetensors"
    write_tensors(path, TENSORS, HEADER)
    return path


def same(one, other):
    """Whether two dictionaries of tensors are equal in type, shape and every bit."""
    return one.keys() == other.keys() and all(
        (a.dtype, a.shape) == (b.dtype, b.shape)
        and torch.equal(
            a.contiguous().reshape(-1).view(torch.uint8),
            b.contiguous().reshape(-1).view(torch.uint8),
        )
        for a, b in ((one[name], other[name]) for name in one)
    )


def refused(read, path):
    """The error of a refused file, one line that names the file."""
    message = ""
    try:
        read(path)
    except UserError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return message


# ---- atomic files


def test_file_has_the_given_contents_and_the_usual_permissions(tmp_path):
    path, plain = tmp_path / "new" / "folder" / "file.bin", tmp_path / "plain"
    write_atomic(path, b"\x00some\xff")
    plain.write_bytes(b"")
    assert path.read_bytes() == b"\x00some\xff"
    assert path.stat().st_mode == plain.stat().st_mode
    write_atomic(path, b"other")
    assert path.read_bytes() == b"other"
    assert os.listdir(path.parent) == ["file.bin"]


def fail_at(monkeypatch, call, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(os, call, fail)


WRITERS = {
    "write_atomic": lambda path: write_atomic(path, b"new" * 100),
    "write_tensors": lambda path: write_tensors(path, {"x": torch.ones(1000)}, HEADER),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [FULL, OSError("odd")])
def test_failed_write_leaves_only_the_old_file(tensor_file, monkeypatch, write, call, error):
    before = tensor_file.read_bytes()
    fail_at(monkeypatch, call, error)
    message = refused(write, tensor_file)
    assert "cannot be written" in message
    assert (error.strerror or str(error)) in message
    assert tensor_file.read_bytes() == before
    assert os.listdir(tensor_file.parent) == [tensor_file.name]
    monkeypatch.undo()
    assert same(read_tensors(tensor_file)[1], TENSORS)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_interrupted_write_leaves_only_the_old_file(tensor_file, monkeypatch, call):
    before = tensor_file.read_bytes()
    fail_at(monkeypatch, call, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_tensors(tensor_file, {"x": torch.ones(3)}, HEADER)
    assert tensor_file.read_bytes() == before
    assert os.listdir(tensor_file.parent) == [tensor_file.name]


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from colocam.runtime.errors import UserError
from colocam.runtime.files import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_tensors(Path(sys.argv[1]), {"x": torch.ones(100_000)}, {})
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX resource limits")
def test_partial_write_leaves_only_the_old_file(tensor_file):
    """Not simulated: the operating system refuses after 10 000 bytes."""
    before = tensor_file.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tensor_file)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == f"{tensor_file}: cannot be written (File too large)\n"
    assert tensor_file.read_bytes() == before
    assert os.listdir(tensor_file.parent) == [tensor_file.name]


def test_file_system_that_cannot_sync_folders_is_written_to(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files_only(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(number)

    monkeypatch.setattr(os, "fsync", of_files_only)
    write_atomic(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


def test_contents_are_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    """Otherwise a power cut could leave an empty file under the name."""
    done, sync, rename = [], os.fsync, os.replace

    def fsync(number):
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(number)

    def replace(source, target):
        done.append("name")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "file", b"data")
    assert done == ["file", "name", "folder"]


def test_error_names_the_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("a file")
    assert "cannot be written" in refused(WRITERS["write_atomic"], tmp_path / "file" / "new.json")
    (tmp_path / "folder").mkdir()
    assert "cannot be written" in refused(WRITERS["write_atomic"], tmp_path / "folder")
    assert (tmp_path / "file").read_text() == "a file"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


KILLED = """
import os, sys
from pathlib import Path
from colocam.runtime.files import write_atomic
os.replace = lambda *_: os._exit(9)
write_atomic(Path(sys.argv[1]), b"new")
"""


def test_only_temporary_files_of_a_killed_process_are_removed(tmp_path):
    for name in ("last.safetensors", ".hidden", ".hidden-7a", ".-7", "a-7", ".gitignore", "7"):
        (tmp_path / name).write_text("kept")
    (tmp_path / ".folder-7").mkdir()
    kept = set(os.listdir(tmp_path))
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "last.safetensors")])
    assert done.returncode == 9
    left = set(os.listdir(tmp_path)) - kept
    assert len(left) == 1
    assert (tmp_path / "last.safetensors").read_text() == "kept"
    remove_unfinished(tmp_path)
    assert set(os.listdir(tmp_path)) == kept
    remove_unfinished(tmp_path / "absent")


# ---- tensor files


def test_tensors_and_header_round_trip_bit_for_bit(tensor_file):
    header, tensors = read_tensors(tensor_file)
    assert header == HEADER
    assert same(tensors, TENSORS)
    header = read_header(tensor_file)
    assert {name: header[name] for name in HEADER} == HEADER


DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=4,
    ),
    st.dictionaries(
        st.text(max_size=6).filter(lambda name: name != "sha256"), st.text(max_size=12), max_size=3
    ),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_any_tensors_and_header_round_trip(tmp_path_factory, shapes, header, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randint(0, 2, shape, generator=generator).to(dtype)
        for name, (dtype, shape) in shapes.items()
    }
    path = tmp_path_factory.mktemp("any") / "any.safetensors"
    write_tensors(path, tensors, header)
    found, read = read_tensors(path)
    assert found == header
    assert same(read, tensors)


def test_memory_layout_and_gradients_are_not_stored(tmp_path):
    """Channels-last weights, a transposed view, a slice, a parameter."""
    whole = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    tensors = {
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "turned": whole.T,
        "part": whole[1:, ::2],
        "parameter": torch.nn.Parameter(whole.clone()),
    }
    write_tensors(tmp_path / "x.safetensors", tensors, {})
    read = read_tensors(tmp_path / "x.safetensors")[1]
    assert same(read, {name: tensor.detach() for name, tensor in tensors.items()})
    assert not any(tensor.requires_grad for tensor in read.values())


def test_non_finite_values_round_trip(tmp_path):
    tensors = {"x": torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])}
    write_tensors(tmp_path / "x.safetensors", tensors, {})
    assert same(read_tensors(tmp_path / "x.safetensors")[1], tensors)


def test_order_of_names_does_not_change_header_and_digest(tensor_file, tmp_path):
    other = tmp_path / "other.safetensors"
    write_tensors(other, dict(reversed(TENSORS.items())), dict(reversed(HEADER.items())))
    texts, tensors = read_header(other), read_tensors(other)[1]
    assert texts == read_header(tensor_file)
    assert same(tensors, TENSORS)


def test_tensors_stay_valid_when_their_file_is_overwritten(tensor_file):
    """A resumed run writes into the folder that it read from."""
    tensors = read_tensors(tensor_file)[1]
    write_tensors(tensor_file, {"x": torch.zeros(100)}, HEADER)
    assert same(tensors, TENSORS)


def test_file_truncated_to_any_length_is_refused(tensor_file):
    whole = tensor_file.read_bytes()
    for length in range(len(whole)):
        tensor_file.write_bytes(whole[:length])
        assert "damaged" in refused(read_tensors, tensor_file)
        refused(read_header, tensor_file)


def test_longer_file_is_refused(tensor_file):
    for more in (b"\x00", b" ", tensor_file.read_bytes()):
        whole = tensor_file.read_bytes()
        tensor_file.write_bytes(whole + more)
        assert "damaged" in refused(read_tensors, tensor_file)
        tensor_file.write_bytes(whole)


def test_any_flipped_bit_is_refused(tensor_file):
    """All of them, one at a time: length, header, names, types, shapes, offsets, values."""
    whole = tensor_file.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            tensor_file.write_bytes(flipped)
            assert "damaged" in refused(read_tensors, tensor_file)


@pytest.mark.parametrize(("old", "new"), [(b"[2,2]", b"[4,1]"), (b'"F32"', b'"I32"')])
def test_same_bytes_with_another_shape_or_type_are_refused(tensor_file, old, new):
    whole = tensor_file.read_bytes()
    assert whole.count(old) == 1
    tensor_file.write_bytes(whole.replace(old, new))
    assert "contents are not those that were written" in refused(read_tensors, tensor_file)


@pytest.mark.parametrize("number", range(4))
def test_swapped_and_overwritten_sectors_are_refused(tmp_path, number):
    """A misplaced sector, and one of zeros."""
    path = tmp_path / "x.safetensors"
    drawn = torch.randn(4096, generator=torch.Generator().manual_seed(number))
    write_tensors(path, {"x": drawn}, HEADER)
    whole = bytearray(path.read_bytes())
    one, other = 2048 + 512 * number, 8192 + 512 * number
    swapped = whole.copy()
    swapped[one : one + 512], swapped[other : other + 512] = (
        whole[other : other + 512],
        whole[one : one + 512],
    )
    zeros = whole.copy()
    zeros[one : one + 512] = bytes(512)
    for damaged in (swapped, zeros):
        path.write_bytes(damaged)
        assert "contents are not those that were written" in refused(read_tensors, path)


def test_file_without_a_digest_is_damaged(tmp_path):
    path = tmp_path / "x.safetensors"
    for metadata in (None, HEADER, {**HEADER, "sha256": ""}):
        path.write_bytes(save(TENSORS, metadata))
        assert "damaged" in refused(read_tensors, path)


def test_missing_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for read in (read_header, read_tensors):
        assert "no such file" in refused(read, tmp_path / "absent.safetensors")
        assert "no such file" in refused(read, tmp_path)
        for content in (b"", b"{}", b"PK\x03\x04" + bytes(200), bytes(64), b"\xff" * 64):
            path.write_bytes(content)
            assert "damaged or not a safetensors file" in refused(read, path)
