"""Address: a stream of a protocol of FFmpeg, such as rtsp and http, through PyAV.

PyAV reports why a stream cannot be opened and whether it ended or was lost, and decodes interlaced
video, as encoders of television give; OpenCV does none of these.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from av.error import FFmpegError

from colocam.data.decoding.capture import duration_of, is_timeout, open_container, to_rgb
from colocam.streaming.captures import ReadFrame, StreamError

TIMEOUT = 10.0
"""Seconds without an answer or data after which a stream cannot be opened, or is lost."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_ALWAYS_LIVE = frozenset({"udp", "rtp", "srt", "tcp", "rtmp", "rtmps", "rtmpt", "rtmpe", "rtmpte"})
_PLAYLISTS = frozenset({"hls", "dash"})  # whose size is not that of the video
_LONGEST_NAME = 80  # characters
_INDEX_LAST = (
    "the server has no ranges of bytes and the index of the file is at its end: download it, or "
    "put the index first with ffmpeg -movflags faststart"
)


def is_address(text: str) -> bool:
    """Returns whether a text begins with a scheme: "rtsp://…"."""
    return _SCHEME.match(text) is not None


@dataclass(frozen=True)
class Address:
    """`Stream` of an address.

    Attributes:
        url: the address, which may contain a user's name and password.
    """

    url: str

    @property
    def video(self) -> str:
        """See `Stream.video`."""
        return self.name

    @property
    def name(self) -> str:
        """The address without user, password and query, which may contain a password, too."""
        scheme, _, rest = self.url.partition("://")
        end = re.search(r"[/?#]|$", rest)
        assert end is not None
        host = rest[: end.start()].rpartition("@")[2]
        path = re.split(r"[?#]", rest[end.start() :], maxsplit=1)[0]
        return f"{scheme}://{host}{path}"

    @property
    def file_name(self) -> str:
        """See `Stream.file_name`."""
        words = re.sub(r"[^\w.-]+", "-", self.name.partition("://")[2])
        return words[:_LONGEST_NAME].strip("-.") or "stream"

    def open(self) -> AddressCapture:
        """See `Stream.open`."""
        return AddressCapture(self.url, self.name)


class AddressCapture:
    """`StreamCapture` of an address.

    Args:
        url: the address.
        name: for messages.

    Raises:
        StreamError: it cannot be opened.
    """

    def __init__(self, url: str, name: str) -> None:
        self._name = name
        match = _SCHEME.match(url)
        assert match is not None
        scheme = match[1].lower()
        self._url = scheme + url[match.end(1) :]
        options = {"rtsp_flags": "prefer_tcp"} if scheme.startswith("rtsp") else {}
        try:
            self._container, self._stream = open_container(
                self._url, threads=1, timeout=TIMEOUT, options=options
            )  # several threads would hold back as many frames
        except (FFmpegError, ValueError) as error:
            raise StreamError(self._reason(error)) from error
        except IndexError as error:
            raise StreamError("there is no video in it") from error
        if self._container.format.name == "tty":  # FFmpeg draws texts
            self.close()
            raise StreamError("it is a text")
        self.live = self._is_live(scheme)
        self._step = 1 / float(self._stream.guessed_rate or 25)
        self._last = -self._step  # seconds
        self._frames = self._decoded()

    def read(self) -> ReadFrame | None:
        """See `StreamCapture.read`."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        self._last = self._last + self._step if frame.time is None else frame.time
        seconds = time.monotonic() if self.live else self._last
        return ReadFrame(to_rgb(frame), seconds)

    def close(self) -> None:
        """See `StreamCapture.close`."""
        self._container.close()

    def _is_live(self, scheme: str) -> bool:
        if scheme in _ALWAYS_LIVE:
            return True
        if self._container.duration:
            return False
        return self._container.format.name in _PLAYLISTS or self._container.size <= 0

    def _decoded(self) -> Iterator[Any]:
        """Decodes frames up to the end; packets that cannot be decoded are skipped."""
        lost = None
        try:
            for packet in self._container.demux(self._stream):
                if not packet.is_corrupt:
                    with suppress(FFmpegError):
                        yield from packet.decode()
        except FFmpegError as error:
            lost = error
        with suppress(FFmpegError):  # frames that the decoder still holds
            yield from self._stream.decode(None)
        if lost is not None and not self._is_complete():
            reason = self._reason(lost)
            if self._last < 0 and not self.live and "mp4" in self._container.format.name:
                reason += f", or {_INDEX_LAST}"
            raise StreamError(reason) from lost

    def _is_complete(self) -> bool:
        """Whether the last frame of a file was read: not every server reports the end of one."""
        duration = duration_of(self._container, self._stream)
        start = float((self._stream.start_time or 0) * self._stream.time_base)
        return not self.live and 0 < duration <= self._last - start + 2 * self._step

    def _reason(self, error: Exception) -> str:
        if is_timeout(error):
            return f"no answer for {TIMEOUT:g} s"
        if getattr(error, "errno", None) == errno.EIO:  # unknown host, connection closed
            return "no connection"
        reason = str(getattr(error, "strerror", None) or error).replace(self._url, self._name)
        return reason.partition("\n")[0]
