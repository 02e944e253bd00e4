"""Atomic files, and tensor files with a digest that detects damage."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from colocam.runtime.errors import DamagedFileError, UserError, WriteError


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file atomically: temporary file, fsync, rename.

    Args:
        path: of the file; its folder is made if necessary.
        data: contents.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; an older file stays.
    """
    unfinished = path.parent / f".{path.name}-{os.getpid()}"
    with _renamed(unfinished, path), unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path that is renamed to `path` at the end of the block.

    For writers that take a path. If the block raises, the temporary file is removed.

    Args:
        path: of the file; the temporary path is hidden, in the same folder, with the same suffix.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; an older file stays.
    """
    unfinished = path.parent / f".{path.stem}-{os.getpid()}{path.suffix}"
    with _renamed(unfinished, path):
        yield unfinished
        with unfinished.open("r+b") as file:  # Windows flushes only files opened for writing
            os.fsync(file.fileno())


@contextmanager
def _renamed(unfinished: Path, path: Path) -> Iterator[None]:
    """Renames `unfinished` to `path` at the end of the block; removes it if the block raises."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # after an interruption too; after the rename there is none
            unfinished.unlink()


def check_file(path: Path) -> None:
    """Checks that a file can be written, before anything is computed for it.

    Raises:
        UserError: `path` is a folder, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    check_folder(path.parent)


def check_folder(folder: Path, option: str = "") -> None:
    """Checks that a folder can be made or written, before anything is computed for it.

    Args:
        folder: the folder.
        option: what names it on the command line, before its name in the message.

    Raises:
        UserError: it cannot.
    """
    candidates = (folder, *folder.absolute().parents)
    nearest = next((candidate for candidate in candidates if candidate.exists()), None)
    if nearest is None:
        raise UserError(f"{option}{folder}: cannot be written (there is no such drive)")
    if not nearest.is_dir():
        raise UserError(f"{option}{folder}: cannot be written ({nearest} is no folder)")
    if not os.access(nearest, os.W_OK | os.X_OK):
        reason = f"no permission to write in {nearest}"
        raise UserError(f"{option}{folder}: cannot be written ({reason})")


def _sync_folder(folder: Path) -> None:
    """Flushes a rename to the disk, on systems that support it for folders."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files that a killed process left in a folder."""
    for path in folder.glob(".*-*"):
        name, _, process = path.name.rpartition("-")
        if process.isdigit() and len(name) > 1 and path.is_file():
            path.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes a safetensors file atomically, with a digest of its contents in the header.

    Args:
        path: of the file.
        tensors: by name, on any device.
        header: strings by name, the file's metadata.

    Raises:
        WriteError: the folder cannot be written, or the disk is full; an older file stays.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(kept, metadata={**header, "sha256": _digest(kept, header)}))


def read_header(path: Path) -> dict[str, str]:
    """Reads the header of a safetensors file, without its tensors. The digest is not checked.

    Raises:
        UserError: no such file, or it cannot be read.
        DamagedFileError: damaged, or not a safetensors file.
    """
    return _open(path, with_tensors=False)[0]


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Reads header and tensors of a file written by `write_tensors`, and checks the digest.

    Returns:
        header without the digest, and tensors by name, on the CPU.

    Raises:
        UserError: no such file, or it cannot be read.
        DamagedFileError: damaged, or not a safetensors file.
    """
    header, tensors = _open(path, with_tensors=True)
    if header.pop("sha256", None) != _digest(tensors, header):
        raise DamagedFileError(f"{path}: damaged: its contents are not those that were written")
    return header, tensors


def _open(path: Path, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .safetensors file that train.py wrote")
    try:
        path.open("rb").close()  # the error of safetensors does not name the reason
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with safe_open(path, "pt") as file:
            names = file.keys() if with_tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path}: damaged or not a safetensors file ({error})") from error


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """SHA-256 over header, and names, types, shapes and values of the tensors."""
    digest = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
