"""Unpacking an archive of strangers: nothing outside the target, no links, no devices.

Members are written by hand as plain files with plain permissions; nothing on the disk is ever
followed. A link is replaced by the contents of the member it names, inside the archive.
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
_LOCKED = (NotImplementedError, RuntimeError)  # zipfile: unknown compression; a password
_BLOCK = 512  # of a tar file; it ends with blocks of zeros
_UNSAFE = getattr(tarfile, "FilterError", tarfile.TarError)  # tarfile's filters: from 3.11.4 on


def is_archive(name: str) -> bool:
    """Whether a file name is one of an archive that `unpack` takes."""
    return name.lower().endswith(SUFFIXES)


def stem_of(name: str) -> str:
    """The name of an archive without its suffix: "cat.tar.gz" → "cat"."""
    return next(name[: -len(end)] for end in SUFFIXES if name.lower().endswith(end))


def unpack(archive: Path, target: Path, advance: Callable[[int], None]) -> None:
    """Unpacks a tar or zip archive into a folder, and reads it to its end: all checks are made.

    Args:
        archive: by its suffix a zip file or a tar file, compressed or not.
        target: a folder that is made where it is missing.
        advance: told now and then how many bytes of the archive are done.

    Raises:
        UserError: the archive cannot be read or is damaged, or a member is not to be trusted: one
            with an absolute path or `..` in it, a link to something outside, a device.
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
        if error.errno is None:  # so gzip and bz2 speak of a damaged stream
            raise _damaged(archive, error) from error
        if error.filename is not None and os.fspath(error.filename) == os.fspath(archive):
            raise UserError(f"{archive}: cannot be read ({error.strerror})") from error
        raise


def _damaged(archive: Path, why: object) -> UserError:
    # tarfile goes on with what each of its ways of reading said
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
        # tarfile takes a damaged header for the end; the real end is a block of zeros.
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("it ends too early or a header is damaged")
        while tar.fileobj.read(1 << 20):  # to the checksum at the end of a compressed stream
            pass
        advance(file.tell())


def _contents(
    archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path
) -> IO[bytes]:
    """The bytes of a file, or of the file inside the archive that a link names."""
    source = None
    if member.isreg() or member.islnk() or member.issym():
        try:
            if hasattr(tarfile, "data_filter"):
                tarfile.data_filter(member, os.fspath(target))
            source = tar.extractfile(member)
        except (_UNSAFE, KeyError, ValueError, RecursionError):
            source = None
    if source is None:
        what = "a link out of the archive or to no file" if _is_link(member) else "no file"
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
                what = "a link" if kind == stat.S_IFLNK else "no file"
                raise _refused(archive, member.filename, what)
            if member.is_dir():
                os.makedirs(path, exist_ok=True)
            else:
                with members.open(member) as source:
                    _write(path, source)
            advance(file.tell())


def _path_of(archive: Path, name: str, target: Path) -> str:
    """Where a member is written."""
    windows = PureWindowsPath(name)  # knows both kinds of slashes, and drives
    if not name or "\0" in name or windows.anchor or windows.drive or ".." in windows.parts:
        raise _refused(archive, name, "a path that leads outside")
    return os.path.join(target, *PurePosixPath(name).parts)


def _refused(archive: Path, name: str, what: str) -> UserError:
    return UserError(f"{archive}: not unpacked: its member {name!r} is {what}")


def _write(path: str, source: IO[bytes]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
