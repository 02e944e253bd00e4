"""Untrusted archives are unpacked inside the target folder, or refused with one line."""

import io
import shutil
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.prepare.archives import is_archive, stem_of, unpack
from colocam.runtime.errors import UserError

names = st.text(st.sampled_from("ab.:/\\C \0é"), min_size=1, max_size=9)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4)


def unpack_into(archive, folder):
    """Unpacks to folder/in/here; returns the files there, None if the archive is refused."""
    target = folder / "in" / "here"
    try:
        unpack(archive, target, lambda done: None)
    except (UserError, OSError) as error:
        assert "\n" not in str(error)  # noqa: PT017
        return None
    finally:
        outside = [path for path in folder.rglob("*") if not path.is_relative_to(target)]
        assert outside == [folder / "in"]
        assert not any(path.is_symlink() for path in folder.rglob("*"))
    return [path for path in target.rglob("*") if path.is_file()]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(names, kinds, names), min_size=1, max_size=4))
def test_no_member_of_a_tar_is_written_outside(tmp_path_factory, members):
    folder = tmp_path_factory.mktemp("tar")
    archive = tmp_path_factory.mktemp("archive") / "a.tar"
    with tarfile.open(archive, "w") as tar:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"data"))
    found = unpack_into(archive, folder)
    assert found is None or all(path.read_bytes() == b"data" for path in found)


@settings(deadline=None, max_examples=100)
@given(st.lists(names, min_size=1, max_size=4, unique=True))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_no_member_of_a_zip_is_written_outside(tmp_path_factory, members):
    archive = tmp_path_factory.mktemp("archive") / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in members:
            file.writestr(name.replace("\0", "b"), b"data")
    unpack_into(archive, tmp_path_factory.mktemp("zip"))


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Archives of the same files by kind, and the files."""
    folder = tmp_path_factory.mktemp("valid")
    files = {f"cat/{number:02d}.jpg": bytes([number]) * 700 for number in range(4)}
    for name, data in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    kinds = ("tar", "gztar", "bztar", "xztar", "zip")
    packed = {how: shutil.make_archive(str(folder / how), how, folder / "files") for how in kinds}
    return packed, files


@settings(deadline=None, max_examples=60)
@given(flips=flips)
@pytest.mark.parametrize("how", ["gztar", "bztar", "xztar", "zip"])
def test_a_damaged_archive_is_refused_or_gives_the_original_files(
    tmp_path_factory, valid, how, flips
):
    packed, files = valid
    with open(packed[how], "rb") as file:
        data = bytearray(file.read())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    archive = tmp_path_factory.mktemp("archive") / packed[how].rsplit("/", 1)[1]
    archive.write_bytes(data)
    found = unpack_into(archive, tmp_path_factory.mktemp("out"))
    if found is not None:
        # a zip has checksums of contents, not of names
        assert {path.read_bytes() for path in found} <= set(files.values())
        if how != "zip":
            assert len(found) == len(files)


@settings(deadline=None, max_examples=100)
@given(flips=flips)
def test_a_tar_with_damaged_headers_is_refused_or_unpacked_inside(tmp_path_factory, valid, flips):
    with open(valid[0]["tar"], "rb") as file:
        data = bytearray(file.read())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    archive = tmp_path_factory.mktemp("archive") / "a.tar"
    archive.write_bytes(data)
    unpack_into(archive, tmp_path_factory.mktemp("out"))


@pytest.mark.parametrize(
    ("name", "stem"),
    [("cat.tar.gz", "cat"), ("cat.TGZ", "cat"), ("a.b.zip", "a.b"), ("cat.tar", "cat")],
)
def test_archives_are_recognized_by_suffix(name, stem):
    assert is_archive(name)
    assert stem_of(name) == stem
    assert not is_archive(f"{name}.txt")


def test_a_zip_with_a_password_is_named(tmp_path):
    archive = tmp_path / "cat.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.jpg", b"data")
    data = bytearray(archive.read_bytes())
    data[6] |= 1  # "encrypted", in the member's header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"cat\.zip: cannot be unpacked here"):
        unpack(archive, tmp_path / "out", lambda done: None)
