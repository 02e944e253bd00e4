"""Loader of training batches: whole sequences, ranks, resuming, stored maps, worker processes."""

import collections
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.decoding.open import open_video
from colocam.data.loading import loader as loading
from colocam.data.loading.loader import EpochOrder, SequenceLoader
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.loading.sequence_dataset import SequenceSettings
from colocam.data.records import Shot
from colocam.runtime.errors import UserError

SETTINGS = SequenceSettings(
    frames=4, sampling="adjacent", frame_limit=1.0, resize=40, crop=32, seed=3
)


class Numbered:
    """Frames whose first two channels encode column and row, and the third the frame number."""

    def __init__(self, name, num_frames, bad=(), size=(60, 50)):
        self.name, self.num_frames, self.bad, self.size = name, num_frames, bad, size
        self.reads = []

    def __len__(self):
        return self.num_frames

    def read(self, indices):
        self.reads.append(list(indices))
        return [None if index in self.bad else self.frame(index) for index in indices]

    def frame(self, index):
        width, height = self.size
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 0] = np.linspace(0, 250, width)
        frame[..., 1] = np.linspace(0, 250, height)[:, None]
        frame[..., 2] = index
        return frame


def shots_of(*lengths, bad=()):
    return [
        Shot(f"shot{k}", k % 3, f"video{k}", Numbered(f"shot{k}", length, bad))
        for k, length in enumerate(lengths)
    ]


def sequences(batch):
    """(label, frame numbers, images) of each sequence of a batch."""
    for number in range(batch.num_sequences):
        own = batch.sequence == number
        images = batch.images[own]
        assert len(batch.labels[own].unique()) == 1
        yield int(batch.labels[own][0]), images[:, 2, 0, 0].tolist(), images


@pytest.mark.parametrize(("batch_size", "per_batch"), [(8, 2), (11, 2), (12, 3), (3, 1), (4, 1)])
def test_a_batch_contains_whole_sequences_and_at_most_batch_size_frames(batch_size, per_batch):
    loader = SequenceLoader(shots_of(*[9] * 5), SETTINGS, batch_size)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == -(-5 // per_batch)
    for batch in batches[:-1]:
        assert batch.num_sequences == per_batch
    for batch in batches:
        assert len(batch.images) <= max(batch_size, 4)
        assert batch.images.shape[1:] == (3, 32, 32)
        assert batch.images.dtype == torch.uint8
        for _, numbers, _ in sequences(batch):
            assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_sequences_are_concatenated_and_numbered_from_zero():
    (batch,) = SequenceLoader(shots_of(9, 2, 9), SETTINGS, 99).epoch(0)
    counts = torch.bincount(batch.sequence).tolist()
    assert sorted(counts) == [2, 4, 4]  # all frames of the short shot
    assert batch.sequence.tolist() == [k for k, count in enumerate(counts) for _ in range(count)]
    assert batch.num_sequences == 3
    assert len(batch.labels) == len(batch.images) == 10


def test_crop_and_flip_are_the_same_within_a_sequence_and_differ_between_sequences():
    (batch,) = SequenceLoader(shots_of(*[9] * 12), SETTINGS, 99).epoch(0)
    views = []
    for _, _, images in sequences(batch):
        assert (images[:, :2] == images[:1, :2]).all()
        views.append(images[0, :2])
    assert len({view.numpy().tobytes() for view in views}) > 6
    flips = [bool(view[0, 0, 0] > view[0, 0, -1]) for view in views]
    assert 0 < sum(flips) < 12
    assert all(view[1, 0, 0] < view[1, -1, 0] for view in views)  # no vertical flip


def test_every_shot_is_drawn_once_per_epoch_with_its_label():
    shots = shots_of(*[9] * 7)
    for epoch in range(3):
        for shot in shots:
            shot.frames.reads.clear()
        labels = collections.Counter(
            label
            for batch in SequenceLoader(shots, SETTINGS, 8).epoch(epoch)
            for label, _, _ in sequences(batch)
        )
        assert [len(shot.frames.reads) for shot in shots] == [1] * 7
        assert labels == collections.Counter(shot.label for shot in shots)


@settings(max_examples=40, deadline=None)
@given(
    shots=st.integers(1, 9),
    per_batch=st.integers(1, 6),
    least=st.integers(1, 12),
    world=st.integers(1, 3),
)
def test_shots_are_drawn_as_often_as_the_least_number_of_batches_takes(
    shots, per_batch, least, world
):
    orders = [EpochOrder(shots, per_batch, 0, rank, world, least) for rank in range(world)]
    per_batch = orders[0].per_batch
    once = -(-shots // per_batch)  # batches of one draw of every shot
    assert len(orders[0]) == max(least, once)
    items = []
    for epoch in range(2):
        for order in orders:
            order.epoch = epoch
        batches = list(zip(*orders, strict=True))
        assert len(batches) == len(orders[0])
        assert all(part for batch in batches for part in batch)
        whole = [item for batch in batches for part in batch for item in part]
        items.append(list(dict.fromkeys(whole)))  # without those that fill up the last batch
    assert not set(items[0]) & set(items[1])  # no draw is repeated
    for of_epoch in items:
        counts = collections.Counter(shot for _, shot in of_epoch)
        assert set(counts) == set(range(shots))
        assert max(counts.values()) - min(counts.values()) <= 1
        assert max(counts.values()) <= orders[0].draws


def test_repeated_draws_of_a_shot_have_other_frames_and_crops():
    loader = SequenceLoader(shots_of(90), SETTINGS, 4, least_batches=8)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 8
    firsts = {(numbers[0], images[0, :2].numpy().tobytes()) for batch in batches
              for _, numbers, images in sequences(batch)}  # fmt: skip
    assert len(firsts) == 8


def test_an_epoch_depends_only_on_seed_and_number():
    def images(seed, epoch, first=0):
        settings = SequenceSettings(4, "gaussian", 1.0, 40, 32, seed)
        loader = SequenceLoader(shots_of(*[30] * 6), settings, 8)
        for number in range(first, epoch):
            list(loader.epoch(number))
        return torch.cat([batch.images for batch in loader.epoch(epoch)])

    assert torch.equal(images(0, 2), images(0, 2, first=2))
    assert not torch.equal(images(0, 2), images(0, 1))
    assert not torch.equal(images(0, 2), images(1, 2))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_batches_are_the_same_with_worker_processes(tmp_path, make_frames):
    shots = []
    for number in range(5):
        source = open_video(make_frames(tmp_path / f"{number}", 8 + number), f"{number}")
        shots.append(Shot(f"{number}", number % 2, f"{number}", source))
    alone = SequenceLoader(shots, SETTINGS, 8, workers=0)
    ahead = SequenceLoader(shots, SETTINGS, 8, workers=2)
    for epoch in range(2):
        pairs = zip(alone.epoch(epoch), ahead.epoch(epoch), strict=True)
        for one, other in pairs:
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.sequence, other.sequence)
            assert one.num_sequences == other.num_sequences
    ahead.close()


def test_unreadable_frames_are_skipped_and_named():
    (batch,) = SequenceLoader(shots_of(4, 4, bad=(1, 3)), SETTINGS, 99).epoch(0)
    assert [numbers for _, numbers, _ in sequences(batch)] == [[0, 2], [0, 2]]
    assert sorted(batch.unreadable) == [
        f"shot{shot} frame {frame}" for shot in (0, 1) for frame in (1, 3)
    ]


def test_a_sequence_without_a_readable_frame_is_dropped():
    shots = [*shots_of(4, 4), Shot("lost", 2, "lost", Numbered("lost", 3, bad=range(3)))]
    (batch,) = SequenceLoader(shots, SETTINGS, 99).epoch(0)
    assert batch.num_sequences == 2
    assert batch.sequence.tolist() == [0] * 4 + [1] * 4
    assert 2 not in batch.labels
    assert len(batch.unreadable) == 3


def test_a_batch_without_readable_frames_is_blank_with_one_black_frame():
    (batch,) = SequenceLoader(shots_of(3, bad=range(3)), SETTINGS, 99).epoch(0)
    assert batch.blank
    assert batch.images.shape == (1, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert (batch.images == 0).all()
    assert (batch.num_sequences, batch.maps) == (1, None)
    for field in (batch.labels, batch.sequence, batch.anchors):
        assert field.tolist() == [0]
        assert field.dtype == torch.long
    assert len(batch.names) == 1
    assert len(batch.unreadable) == 3


def test_a_batch_with_a_readable_frame_is_not_blank():
    shots = [*shots_of(1), Shot("lost", 2, "lost", Numbered("lost", 3, bad=range(3)))]
    (batch,) = SequenceLoader(shots, SETTINGS, 99).epoch(0)
    assert not batch.blank
    assert (len(batch.images), batch.names) == (1, ("shot0 frame 0",))


def test_frames_of_a_batch_have_names():
    for batch in SequenceLoader(shots_of(9, 9, 2, 9, 9, bad=(1, 5)), SETTINGS, 12).epoch(0):
        assert len(batch.names) == len(batch.images)
        numbers, labels = batch.images[:, 2, 0, 0].tolist(), batch.labels.tolist()
        for name, number, label in zip(batch.names, numbers, labels, strict=True):
            shot, _, index = name.split()
            assert int(index) == number
            assert int(shot.removeprefix("shot")) % 3 == label


@pytest.mark.parametrize(("direction", "index"), [("before", 3), ("after", 0), ("both", 2)])
def test_anchors_are_the_frames_that_sequences_are_drawn_for(direction, index):
    settings = SequenceSettings(4, "adjacent", 1.0, 40, 32, 3, direction)
    for batch in SequenceLoader(shots_of(9, 9, 9, 9, 9), settings, 8).epoch(0):
        numbers = batch.images[batch.anchors, 2, 0, 0].tolist()
        assert numbers == [frames[index] for _, frames, _ in sequences(batch)]


def test_anchors_are_readable_frames_of_short_and_incomplete_sequences():
    for direction, numbers in (("before", [3, 2, 1]), ("after", [0, 0, 0]), ("both", [2, 1, 1])):
        settings = SequenceSettings(9, "adjacent", 1.0, 40, 32, 3, direction)
        shots = shots_of(4, 3, 2)
        shots[1:1] = [Shot("lost", 2, "lost", Numbered("lost", 3, bad=range(3)))]
        (batch,) = SequenceLoader(shots, settings, 99).epoch(0)
        anchors = batch.images[batch.anchors, 2, 0, 0].tolist()
        assert sorted(anchors) == sorted(numbers)
        assert batch.sequence[batch.anchors].tolist() == [0, 1, 2]
    (batch,) = SequenceLoader(shots_of(4, bad=(3,)), SETTINGS, 99).epoch(0)
    assert batch.images[batch.anchors, 2, 0, 0].tolist() == [2]  # the last readable frame


def test_frames_do_not_depend_on_the_direction():
    def images(direction):
        settings = SequenceSettings(4, "adjacent", 1.0, 40, 32, 3, direction)
        batches = SequenceLoader(shots_of(*[30] * 6), settings, 8).epoch(1)
        return torch.cat([batch.images for batch in batches])

    assert torch.equal(images("before"), images("after"))
    assert torch.equal(images("before"), images("both"))


# ---- ranks, and resuming within an epoch


def shots_drawn(shots, batch_size, world, epoch=0, first=0):
    """Numbers of the shots of the batches of every rank: [rank][batch] is a list."""
    found = []
    for rank in range(world):
        loader = SequenceLoader(shots, SETTINGS, batch_size, rank=rank, world=world)
        batches = loader.epoch(epoch, first)
        found.append([[int(name.split()[0][4:]) for name in batch.names[::4]] for batch in batches])
    return found


@given(st.integers(1, 23), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_ranks_share_every_batch_and_draw_every_shot_once(count, per_batch, world, epoch):
    """Compares with the batches of one process, with at least one sequence per rank.

    The last batch is filled up if it has fewer sequences than there are ranks.
    """
    shots = shots_of(*[4] * count)  # all four frames of a shot form the sequence
    ranks = shots_drawn(shots, 4 * per_batch, world, epoch)
    (alone,) = shots_drawn(shots, 4 * max(per_batch, world), 1, epoch)
    order = [shot for batch in alone for shot in batch]
    assert sorted(order) == list(range(count))
    assert {len(batches) for batches in ranks} == {len(alone)}
    for number, expected in enumerate(alone):
        parts = [batches[number] for batches in ranks]
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1
        dealt = [shot for turn in range(max(sizes)) for part in parts for shot in part[turn:][:1]]
        if len(expected) >= world:
            assert dealt == expected
        else:
            assert number == len(alone) - 1
            assert dealt[: len(expected)] == expected
            fill = (order * world)[: world - len(expected)]  # from the beginning of the epoch
            assert dealt[len(expected) :] == fill


def test_ranks_draw_the_same_frames_and_crops_as_one_process():
    """Sequences are not divided, and each is bit-identical to that of a single process."""
    shots = shots_of(*[30] * 7)
    kinds = SequenceSettings(4, "gaussian", 1.0, 40, 32, 3)
    for epoch in range(2):
        alone = list(SequenceLoader(shots, kinds, 16).epoch(epoch))
        ranks = [
            list(SequenceLoader(shots, kinds, 16, rank=rank, world=2).epoch(epoch))
            for rank in range(2)
        ]
        assert [len(batches) for batches in ranks] == [len(alone)] * 2 == [2, 2]
        for number, whole in enumerate(alone):
            parts = [batches[number] for batches in ranks]
            assert sum(part.num_sequences for part in parts) == whole.num_sequences
            for index in range(whole.num_sequences):
                part, own = parts[index % 2], parts[index % 2].sequence == index // 2
                one = whole.sequence == index
                assert own.sum() == 4
                assert torch.equal(part.images[own], whole.images[one])
                assert torch.equal(part.labels[own], whole.labels[one])
                anchor, expected = part.anchors[index // 2], whole.anchors[index]
                assert torch.equal(part.images[anchor], whole.images[expected])


def test_without_shots_no_rank_has_a_batch():
    assert shots_drawn([], 8, 3) == [[], [], []]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_can_be_resumed_at_any_batch(world):
    shots = shots_of(*[4] * 10)
    whole = shots_drawn(shots, 8, world, epoch=1)
    for first in range(len(whole[0]) + 2):
        rest = shots_drawn(shots, 8, world, epoch=1, first=first)
        assert rest == [batches[first:] for batches in whole]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_can_resume_within_an_epoch_and_start_the_next_one(workers):
    shots = shots_of(*[9] * 7)
    expected = {
        epoch: [batch.images for batch in SequenceLoader(shots, SETTINGS, 8).epoch(epoch)]
        for epoch in range(3)
    }
    loader = SequenceLoader(shots, SETTINGS, 8, workers=workers)
    for epoch, first in ((0, 2), (1, 0), (2, 3)):
        assert len(loader) == 4  # of a whole epoch
        got = [batch.images for batch in loader.epoch(epoch, first)]
        assert len(got) == 4 - first
        assert all(map(torch.equal, got, expected[epoch][first:]))
    abandoned = loader.epoch(0)  # a run that stops within the epoch
    next(abandoned)
    del abandoned
    got = [batch.images for batch in loader.epoch(1)]
    assert all(map(torch.equal, got, expected[1]))
    loader.close()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_states_are_not_used(workers):
    loader = SequenceLoader(shots_of(*[9] * 5), SETTINGS, 8, workers=workers)
    torch.manual_seed(4)
    np.random.seed(4)
    before, of_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    for epoch in range(2):
        list(loader.epoch(epoch))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == of_numpy).all()
    torch.manual_seed(5)
    other = [batch.images for batch in loader.epoch(1)]
    torch.manual_seed(6)
    assert all(map(torch.equal, other, [batch.images for batch in loader.epoch(1)]))
    loader.close()


# ---- stored maps


@pytest.fixture
def textured(tmp_path):
    """Five shots of smooth noise, and the red channels of all frames as maps.

    The size of the maps differs between shots. The red channel of every frame covers 0 … 255, so
    that maps are not scaled when they are read.
    """
    rng = np.random.default_rng(0)
    maps, shots = SeedMaps(tmp_path / "maps"), []
    for number, size in enumerate([(60, 50), (30, 25), (15, 13), (120, 100), (40, 40)]):
        folder = tmp_path / "data" / "cat" / f"{number}"
        folder.mkdir(parents=True)
        for index in range(6):
            coarse = rng.random((5, 6, 3), np.float32)
            frame = cv2.resize(coarse, (60, 50), interpolation=cv2.INTER_CUBIC)
            low, high = frame.min((0, 1)), frame.max((0, 1))
            frame = np.round((frame - low) / (high - low) * 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{index}.png"), frame[..., ::-1])
        source = open_video(folder, f"cat/{number}")
        shots.append(Shot(f"cat/{number}", 0, f"cat/{number}", source))
        for index, frame in enumerate(source):
            red = cv2.resize(frame[..., 0].astype(np.float32), size, interpolation=cv2.INTER_AREA)
            maps.write(source, index, red)
    return shots, maps


def test_maps_are_cropped_and_flipped_like_their_frames(textured):
    """A map of the red channel equals the red channel of the crop, for maps of any size."""
    shots, maps = textured
    settings = SequenceSettings(4, "interval", 1.0, 48, 32, 0)
    errors, turned = [], []
    for epoch in range(4):
        for batch in SequenceLoader(shots, settings, 8, maps=maps).epoch(epoch):
            assert batch.maps.shape == (len(batch.images), 32, 32)
            assert batch.maps.dtype == torch.float32
            assert batch.maps.min() >= 0
            assert batch.maps.max() <= 1
            red = batch.images[:, 0].float() / 255
            errors += (batch.maps - red).abs().mean((1, 2)).tolist()
            turned += (batch.maps.flip(2) - red).abs().mean((1, 2)).tolist()
    assert len(errors) == 4 * 5 * 4
    assert max(errors) < 0.06
    assert np.mean(errors) < 0.03
    assert min(turned) > 0.1


def test_a_map_of_the_frame_size_has_the_same_pixels(textured):
    shots, maps = textured
    (batch,) = SequenceLoader(shots[:1], SETTINGS, 4, maps=maps).epoch(0)
    red = batch.images[:, 0].float() / 255
    assert (batch.maps - red).abs().max() < 1.6 / 255  # rounded to bytes; float16


def test_images_are_the_same_with_and_without_maps(textured):
    shots, maps = textured
    with_maps = SequenceLoader(shots, SETTINGS, 8, maps=maps)
    for one, other in zip(
        SequenceLoader(shots, SETTINGS, 8).epoch(1), with_maps.epoch(1), strict=True
    ):
        assert one.maps is None
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.sequence, other.sequence)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_maps_are_read_by_worker_processes(textured):
    shots, maps = textured
    alone = SequenceLoader(shots, SETTINGS, 8, maps=maps)
    ahead = SequenceLoader(shots, SETTINGS, 8, workers=2, maps=maps)
    for one, other in zip(alone.epoch(0), ahead.epoch(0), strict=True):
        assert torch.equal(one.maps, other.maps)
        assert torch.equal(one.images, other.images)
    for shot in shots:
        for index in range(6):
            maps.path(shot.frames, index).write_bytes(b"broken")
    for loader in (alone, ahead):
        with pytest.raises(UserError) as error:
            list(loader.epoch(1))
        assert "not a valid .npy file" in str(error.value)
        assert "\n" not in str(error.value)
        loader.close()


def running(others):
    """Worker processes, except for those of other loaders."""
    return {child for child in multiprocessing.active_children() if child not in others}


def test_worker_processes_use_one_thread_of_opencv(monkeypatch):
    threads, collate, lines = cv2.getNumThreads(), loading.collate_sequences, []

    def counted(*arguments, **options):
        batch = collate(*arguments, **options)
        line = f"{cv2.getNumThreads()} of OpenCV's threads"
        batch["warnings"] = [SimpleNamespace(damaged=(), disabled=(line,))]
        return batch

    monkeypatch.setattr(loading, "collate_sequences", counted)
    cv2.resize(np.zeros((900, 900, 3), np.uint8), (700, 700))  # starts threads of this process
    loader = SequenceLoader(shots_of(9, 9), SETTINGS, 4, workers=1, warn=lines.append)
    assert list(loader.epoch(0))
    loader.close()
    assert lines == ["1 of OpenCV's threads"]
    assert cv2.getNumThreads() == threads


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_workers_complete_the_step_after_signals_to_all_processes():
    others = set(multiprocessing.active_children())
    loader = SequenceLoader(shots_of(*[9] * 6), SETTINGS, 4, workers=2)
    list(loader.epoch(0))  # both workers are running
    batches = loader.epoch(1)
    next(batches)
    for child in running(others):
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
    assert len(list(batches)) == 5
    batches = loader.epoch(2)
    next(batches)
    for child in running(others):
        os.kill(child.pid, signal.SIGTERM)  # as forwarded by a launcher
    assert len(list(batches)) == 5
    loader.close()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_worker_processes_end_when_the_loader_is_closed():
    others = set(multiprocessing.active_children())
    loader = SequenceLoader(shots_of(*[9] * 6), SETTINGS, 4, workers=2)
    batches = loader.epoch(0)
    next(batches)
    assert len(running(others)) == 2
    started = time.monotonic()
    batches.close()
    loader.close()
    assert not running(others)
    assert time.monotonic() - started < 4  # torch kills them after 5 s


ENDING = """
import gc, os, signal, multiprocessing, sys
import numpy as np
from colocam.data.loading.loader import SequenceLoader
from colocam.data.loading.sequence_dataset import SequenceSettings
from colocam.data.records import Shot

class Frames:
    name = "shot"
    def __len__(self): return 9
    def read(self, indices): return [np.zeros((40, 40, 3), np.uint8) for _ in indices]

shots = [Shot(str(n), 0, "video", Frames()) for n in range(6)]
loader = SequenceLoader(shots, SequenceSettings(2, "adjacent", 1.0, 40, 32, 3), 4, workers=2)
batches = loader.epoch(0)
next(batches)
if "signal" in sys.argv:
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGTERM)
loader.circle = [loader, batches]  # its queues are deleted before the processes end
del loader, batches
gc.collect()
"""


def test_a_program_ends_without_closing_its_loader():
    programs = [
        subprocess.Popen([sys.executable, "-c", ENDING, *options], stderr=subprocess.PIPE)
        for options in ([], ["signal"])
    ]
    for program in programs:
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 0, errors


def test_undecodable_frames_have_no_map_in_the_batch(tmp_path):
    (shot,) = shots_of(4, bad=(1,))
    maps = SeedMaps(tmp_path)
    for index in (0, 2, 3):
        maps.write(shot.frames, index, np.linspace(0, 1, 6).reshape(2, 3) ** (index + 1))
    (batch,) = SequenceLoader([shot], SETTINGS, 4, maps=maps).epoch(0)
    assert batch.images[:, 2, 0, 0].tolist() == [0, 2, 3]
    means = batch.maps.mean((1, 2)).tolist()
    assert means == sorted(means, reverse=True)
    assert len(means) == 3
    (batch,) = SequenceLoader(shots_of(3, bad=range(3)), SETTINGS, 4, maps=maps).epoch(0)
    assert batch.blank
    assert batch.maps.shape == (1, 32, 32)
    assert batch.maps.dtype == torch.float32
    assert (batch.maps == 0).all()


def test_all_tensors_of_a_batch_are_moved(textured):
    shots, maps = textured
    meta = torch.device("meta")
    loader = SequenceLoader(shots, SETTINGS, 99, maps=maps)
    ((drawn,), (batch,)) = loader.drawn(0), loader.epoch(0)
    moved = drawn.on(meta)
    for name in ("images", "labels", "sequence", "anchors", "maps"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(batch, name).shape
    assert (moved.num_sequences, moved.unreadable, moved.blank) == (5, (), False)
    assert moved.names == batch.names
    loader = SequenceLoader(shots, SETTINGS, 99, device=meta)
    (batch,) = loader.epoch(0)
    assert (batch.images.device, batch.maps) == (meta, None)
