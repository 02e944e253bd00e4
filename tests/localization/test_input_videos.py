"""Resolution of files and folders to videos."""

import os

import pytest

from colocam.localization.input_videos import find_videos
from colocam.runtime.errors import UserError


@pytest.fixture
def tree(tmp_path):
    """Creates empty files; returns the videos found, as relative paths, and the notes."""

    def find(*files, paths=(".",), out="out"):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        notes = []
        found = find_videos([tmp_path / path for path in paths], tmp_path / out, notes)
        return [os.path.relpath(path, tmp_path) for path in found], notes

    return find


def test_a_folder_of_images_is_one_video(tree):
    assert tree("a/1.jpg", "a/2.PNG", "a/notes.txt", paths=["a"]) == (["a"], [])


def test_a_folder_of_videos_is_searched_to_one_level_below_in_order(tree):
    found, notes = tree(
        "dog/z.mp4", "dog/a.MKV", "dog/frames/1.jpg", "cat/é ü.webm", "b.mov", "frames/1.jpg",
        "boxes.csv", "README.md", ".hidden.mp4", ".hidden/a.mp4", "dog/deep/er/a.mp4",
    )  # fmt: skip
    assert found == ["b.mov", "cat/é ü.webm", "dog/a.MKV", "dog/frames", "dog/z.mp4", "frames"]
    assert notes == []


def test_images_next_to_videos_are_ignored_with_a_note(tree, tmp_path):
    found, notes = tree("a.mp4", "poster.jpg")
    assert found == ["a.mp4"]
    assert notes == [f"{tmp_path / '.'}: 1 image next to videos ignored"]


def test_a_file_is_a_video_whatever_its_name(tree):
    assert tree("clip.bin", paths=["clip.bin"])[0] == ["clip.bin"]


def test_arguments_keep_their_order_without_duplicates(tree):
    found, _ = tree("a.mp4", "b.mp4", paths=["b.mp4", ".", "a.mp4"])
    assert found == ["b.mp4", "a.mp4"]


def test_overlay_videos_in_the_output_folder_are_skipped(tree):
    files = ("a.mp4", "a-overlay.mp4", "out/a-overlay.mp4", "out/x.mp4")
    assert tree(*files)[0] == ["a-overlay.mp4", "a.mp4"]
    assert tree(out=".")[0] == ["a.mp4", "out/a-overlay.mp4", "out/x.mp4"]


def test_a_link_to_the_folder_itself_is_followed_once(tree, tmp_path):
    (tmp_path / "again").symlink_to(tmp_path)
    assert tree("a.mp4", paths=["."])[0] == ["a.mp4"]


@pytest.mark.parametrize(
    ("files", "path", "what"),
    [((), "nowhere", "no such file or folder"), (("a/note.txt",), "a", "holds no image files")],
)
def test_a_path_without_a_video_raises_with_its_name(tree, tmp_path, files, path, what):
    with pytest.raises(UserError) as caught:
        tree(*files, paths=[path])
    assert str(caught.value).startswith(f"{tmp_path / path}: {what}")
