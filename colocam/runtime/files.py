"""Files that appear whole or not at all, and tensor files that know when they are damaged."""

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

from colocam.runtime.errors import UserError


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file under its name whole, or not at all (temporary file, fsync, rename).

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    unfinished = path.parent / f".{path.name}-{os.getpid()}"
    with _renamed(unfinished, path), unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden place beside `path`, of the same suffix, for whoever writes a file by its name.

    The file gets its name when all went well; otherwise nothing is left of it.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    unfinished = path.parent / f".{path.stem}-{os.getpid()}{path.suffix}"
    with _renamed(unfinished, path):
        yield unfinished
        with unfinished.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())


@contextmanager
def _renamed(unfinished: Path, path: Path) -> Iterator[None]:
    """Gives a file its name once it is written, and removes it where that failed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # after an interruption too; once renamed it is gone
            unfinished.unlink()


def check_file(path: Path) -> None:
    """Makes sure, before anything is computed for it, that a file can be written there.

    Raises:
        UserError: a folder has its name, or its folder cannot be made or written.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Makes sure, before anything is computed for it, that a folder can be made or written.

    Raises:
        UserError: it cannot.
    """
    places = (folder, *folder.absolute().parents)
    nearest = next((place for place in places if place.exists()), None)
    if nearest is None:
        raise UserError(f"{folder}: cannot be written (there is no such drive)")
    if not nearest.is_dir():
        raise UserError(f"{folder}: cannot be written ({nearest} is no folder)")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot be written (no permission to write in {nearest})")


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut, where the system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_unfinished(folder: Path) -> None:
    """Removes what `write_whole` left in a folder when its process was killed."""
    for path in folder.glob(".*-*"):
        name, _, process = path.name.rpartition("-")
        if process.isdigit() and len(name) > 1 and path.is_file():
            path.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes a safetensors file whole, with a digest of all that it holds.

    Args:
        path: of the file.
        tensors: by name, on any device.
        header: texts that stand beside them.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(kept, metadata={**header, "sha256": _digest(kept, header)}))


def read_header(path: Path) -> dict[str, str]:
    """The texts of a tensor file, without its tensors.

    Raises:
        UserError: no such file, or not a safetensors file.
    """
    return _open(path, with_tensors=False)[0]


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts and tensors of a file of `write_tensors`, unharmed.

    Raises:
        UserError: no such file, or one that is damaged.
    """
    header, tensors = _open(path, with_tensors=True)
    if header.pop("sha256", None) != _digest(tensors, header):
        raise UserError(f"{path}: damaged: its contents are not those that were written")
    return header, tensors


def _open(path: Path, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .safetensors file that train.py wrote")
    try:
        path.open("rb").close()  # safetensors does not tell why it cannot
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with safe_open(path, "pt") as file:
            names = file.keys() if with_tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({error})") from error


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """SHA-256 over names, shapes, types and values, and the texts."""
    digest = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
