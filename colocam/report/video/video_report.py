"""Report of one video: collects its localized frames, of which only numbers and a few are kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from colocam.data.decoding.timestamps import TimedFrame
from colocam.data.shots.detection import is_cut, signature
from colocam.evaluation.boxes import iou
from colocam.evaluation.consistency import JUMP
from colocam.localization.inference import Localization
from colocam.report.templating import render
from colocam.report.video.frame_log import FrameLog
from colocam.report.video.kept_frames import LocalizedFrame, SpacedFrames, WorstJumps
from colocam.report.video.page import Contents, page_of
from colocam.report.video.tables import TrackSummary
from colocam.runtime.files import write_atomic

TEMPLATE = "video.html.jinja"
MOST_JUMPS, MOST_AT_CUTS = 8, 4  # places that are shown, within shots and at cuts


class VideoReport:
    """Report page of one localized video, of which the frames are added in order.

    Memory: about 100 bytes a frame, and a fixed number of small pictures.

    Args:
        title: of the page.
        lead: what was localized with what, in one sentence.
        options: what the result depends on, by name.
        tracks: whether frames are added with tracks of their boxes.
        empty_over: emptiness above which frames are added without a box; None: any.
    """

    def __init__(
        self,
        title: str,
        lead: str,
        options: Mapping[str, object],
        *,
        tracks: bool = False,
        empty_over: float | None = None,
    ) -> None:
        self.title, self.lead, self.options, self.empty_over = title, lead, options, empty_over
        self._log, self._spaced = FrameLog(), SpacedFrames()
        self._jumps, self._at_cuts = WorstJumps(MOST_JUMPS), WorstJumps(MOST_AT_CUTS)
        self._tracks: dict[int, TrackSummary] | None = {} if tracks else None
        self._before: LocalizedFrame | None = None  # the frame before; None if not decoded
        self._signature = np.empty(0)  # of the last decoded frame

    def add(
        self,
        frame: TimedFrame,
        found: Localization | None,
        tracks: Sequence[int] | None = None,
    ) -> None:
        """Adds the next frame.

        Args:
            frame: the frame.
            found: its localization; None if it cannot be decoded.
            tracks: numbers of the tracks of `found.all_boxes`.
        """
        before, self._before = self._before, None
        if frame.image is None or found is None:
            self._log.add(frame.seconds, None)
            return
        numbers = None if tracks is None else tuple(tracks)
        self._before = now = LocalizedFrame(frame, frame.image, found, numbers)
        cut, overlap = self._is_cut(now), np.nan
        if before is not None and before.found.box is not None and found.box is not None:
            overlap = float(iou([before.found.box], [found.box])[0, 0])
            if overlap < JUMP:
                (self._at_cuts if cut else self._jumps).add(before, now, overlap)
        self._log.add(frame.seconds, found, overlap, cut)
        self._spaced.add(now)
        if self._tracks is not None:
            self._add_tracks(self._tracks, now)

    def _is_cut(self, now: LocalizedFrame) -> bool:
        before, self._signature = self._signature, signature(now.image)
        return bool(before.size) and is_cut(before, self._signature)

    @staticmethod
    def _add_tracks(tracks: dict[int, TrackSummary], now: LocalizedFrame) -> None:
        index = now.frame.index
        for number, score in zip(now.tracks or (), now.found.all_scores, strict=True):
            track = tracks.setdefault(number, TrackSummary(number, index, index))
            track.last = index
            track.frames += 1
            track.score_sum += score

    def html(self) -> str:
        """The page; at least one frame must have been added."""
        contents = Contents(
            self.title,
            self.lead,
            self.options,
            self._log.numbers(),
            self._spaced,
            self._jumps.places(),
            self._at_cuts.places(),
            None if self._tracks is None else list(self._tracks.values()),
            self.empty_over,
        )
        return render(TEMPLATE, page=page_of(contents))

    def write(self, path: Path) -> None:
        """Writes the page as one HTML file; the write is atomic.

        Args:
            path: of the file; missing folders are created.

        Raises:
            WriteError: the file cannot be written.
        """
        # Names of files may be invalid Unicode.
        write_atomic(path, self.html().encode(errors="backslashreplace"))
