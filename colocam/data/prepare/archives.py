"""Unpacking of untrusted archives: no files outside the target folder, no links, no devices.

Members are written as regular files with default permissions; links on disk are not followed. A
link in an archive is replaced by the contents of the member it refers to.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from colocam.runtime.errors import UserError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
_LOCKED = (NotImplementedError, RuntimeError)  # zipfile: unknown compression, password
_BLOCK = 512  # block of a tar file, which ends with blocks of zeros
_UNSAFE = getattr(tarfile, "FilterError", tarfile.TarError)  # tarfile has filters from 3.11.4 on


def is_archive(name: str) -> bool:
    """Returns whether a file name has a suffix that `unpack` supports."""
    return name.lower().endswith(SUFFIXES)


def stem_of(name: str) -> str:
    """Returns the name of an archive without its suffix: "cat.tar.gz" → "cat"."""
    return next(name[: -len(end)] for end in SUFFIXES if name.lower().endswith(end))


def unpack(archive: Path, target: Path, advance: Callable[[int], None]) -> None:
    """Unpacks a tar or zip archive to a folder; reads it to the end to verify all checksums.

    Args:
        archive: a zip file or a tar file, compressed or not, by its suffix.
        target: the folder, created if missing.
        advance: progress callback; receives the number of bytes read so far.

    Raises:
        UserError: the archive cannot be read or is damaged, or a member is unsafe: an absolute
            path, a path with `..`, a link out of the archive, a device.
        OSError: `target` cannot be written.
    """
    unpack_members = _unpack_zip if archive.name.lower().endswith(".zip") else _unpack_tar
    target.mkdir(parents=True, exist_ok=True)
    try:
        with open(archive, "rb") as file:
            unpack_members(file, archive, target, advance)
    except _DAMAGED as error:
        raise _damaged(archive, error) from error
    except _LOCKED as error:
        raise UserError(f"{archive}: cannot be unpacked here ({error}); unpack it yourself") from (
            error
        )
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report a damaged stream this way
            raise _damaged(archive, error) from error
        if error.filename is not None and os.fspath(error.filename) == os.fspath(archive):
            raise UserError(f"{archive}: cannot be read ({error.strerror})") from error
        raise


def _damaged(archive: Path, why: object) -> UserError:
    # tarfile appends the error of each compression method it tried
    reason = " ".join(str(why).split()).partition(": - method")[0] or "it ends too early"
    return UserError(f"{archive}: damaged or not an archive ({reason}); download it again")


def _unpack_tar(
    file: IO[bytes], archive: Path, target: Path, advance: Callable[[int], None]
) -> None:
    with tarfile.open(fileobj=file, mode="r:*") as tar:
        for member in tar:
            path = _path_of(archive, member.name, target)
            if member.isdir():
                os.makedirs(path, exist_ok=True)
            else:
                with _contents(archive, tar, member, target) as source:
                    _write(path, source)
            advance(file.tell())
        # tarfile treats a damaged header as the end; the real end is a block of zeros.
        stream = tar.fileobj
        assert stream is not None  # None only for a closed file
        stream.seek(tar.offset)
        if stream.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("it ends too early or a header is damaged")
        while stream.read(1 << 20):  # to the checksum at the end of a compressed stream
            pass
        advance(file.tell())


def _contents(
    archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path
) -> IO[bytes]:
    """Contents of a regular file, or of the file in the archive that a link refers to."""
    source = None
    if member.isreg() or member.islnk() or member.issym():
        try:
            if hasattr(tarfile, "data_filter"):
                tarfile.data_filter(member, os.fspath(target))
            source = tar.extractfile(member)
        except (_UNSAFE, KeyError, ValueError, RecursionError):
            source = None
    if source is None:
        what = "a link out of the archive or to no file" if _is_link(member) else "not a file"
        raise _refused(archive, member.name, what)
    return source


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.islnk() or member.issym()


def _unpack_zip(
    file: IO[bytes], archive: Path, target: Path, advance: Callable[[int], None]
) -> None:
    with zipfile.ZipFile(file) as members:
        for member in members.infolist():
            path = _path_of(archive, member.filename, target)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "not a file"
                raise _refused(archive, member.filename, what)
            if member.is_dir():
                os.makedirs(path, exist_ok=True)
            else:
                with members.open(member) as source:
                    _write(path, source)
            advance(file.tell())


def _path_of(archive: Path, name: str, target: Path) -> str:
    """Path that a member is written to."""
    windows = PureWindowsPath(name)  # parses both kinds of slashes, and drives
    if not name or "\0" in name or windows.anchor or windows.drive or ".." in windows.parts:
        raise _refused(archive, name, "a path outside the target folder")
    return os.path.join(target, *PurePosixPath(name).parts)


def _refused(archive: Path, name: str, what: str) -> UserError:
    return UserError(f"{archive}: not unpacked: its member {name!r} is {what}")


def _write(path: str, source: IO[bytes]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
