"""Which videos files and folders stand for, and names for what is made of them."""

import os
from pathlib import Path

import pytest

from colocam.localization.input_videos import file_names, find_videos
from colocam.runtime.errors import UserError


@pytest.fixture
def tree(tmp_path):
    """Makes empty files, and finds the videos in their folder, as names relative to it."""

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


def test_a_folder_stands_for_its_videos_also_one_level_down_in_order(tree):
    found, notes = tree(
        "dog/z.mp4", "dog/a.MKV", "dog/frames/1.jpg", "cat/é ü.webm", "b.mov", "frames/1.jpg",
        "boxes.csv", "README.md", ".hidden.mp4", ".hidden/a.mp4", "dog/deep/er/a.mp4",
    )  # fmt: skip
    assert found == ["b.mov", "cat/é ü.webm", "dog/a.MKV", "dog/frames", "dog/z.mp4", "frames"]
    assert notes == []


def test_images_beside_videos_are_ignored_with_a_line(tree, tmp_path):
    found, notes = tree("a.mp4", "poster.jpg")
    assert found == ["a.mp4"]
    assert notes == [f"{tmp_path / '.'}: 1 image beside its videos ignored"]


def test_a_file_is_a_video_whatever_its_name(tree):
    assert tree("clip.bin", paths=["clip.bin"])[0] == ["clip.bin"]


def test_arguments_keep_their_order_and_none_comes_twice(tree):
    found, _ = tree("a.mp4", "b.mp4", paths=["b.mp4", ".", "a.mp4"])
    assert found == ["b.mp4", "a.mp4"]


def test_what_the_command_wrote_is_left_out(tree):
    files = ("a.mp4", "a-overlay.mp4", "out/a-overlay.mp4", "out/x.mp4")
    assert tree(*files)[0] == ["a-overlay.mp4", "a.mp4"]
    assert tree(out=".")[0] == ["a.mp4", "out/a-overlay.mp4", "out/x.mp4"]


def test_a_folder_that_points_to_itself_ends(tree, tmp_path):
    (tmp_path / "again").symlink_to(tmp_path)
    assert tree("a.mp4", paths=["."])[0] == ["a.mp4"]


@pytest.mark.parametrize(
    ("files", "path", "what"),
    [((), "nowhere", "no such file or folder"), (("a/note.txt",), "a", "holds no image files")],
)
def test_a_path_without_a_video_is_named(tree, tmp_path, files, path, what):
    with pytest.raises(UserError) as caught:
        tree(*files, paths=[path])
    assert str(caught.value).startswith(f"{tmp_path / path}: {what}")


def test_every_video_has_a_name_of_its_own_even_where_case_does_not_count(tmp_path):
    (tmp_path / "v1.2").mkdir()
    given = ["a/cat.mp4", "cat-2.mp4", "b/cat.avi", "Cat.mp4", "v1.2", "größe.mp4", "gro\u0308ße"]
    assert file_names([tmp_path / Path(name) for name in given]) == [
        "cat", "cat-2", "cat-3", "Cat-4", "v1.2", "größe", "gro\u0308ße-2"
    ]  # fmt: skip
