"""Streams for tests: a stream of given frames and losses, a server of videos."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from colocam.streaming.captures import ReadFrame, StreamError


@dataclass
class GivenStream:
    """A stream that gives, each time it is opened, the next of some lists.

    A number is a frame of this grey value, None a frame that cannot be decoded, and an exception is
    raised. A list that is an exception itself is raised by opening the stream, and after the last
    list every opening raises a StreamError.
    """

    openings: list
    live: bool = True
    interval: float = 0.0  # seconds
    video: str = "given"
    name: str = "the stream"
    file_name: str = "given"
    opened: int = 0
    closed: int = 0
    left: list = field(default_factory=list)
    thread: threading.Thread | None = None

    def open(self):
        self.thread = threading.current_thread()
        self.opened += 1
        if self.opened > len(self.openings):
            raise StreamError("nobody answers")
        given = self.openings[self.opened - 1]
        if isinstance(given, Exception):
            raise given
        self.left = list(given)
        return self

    def read(self):
        time.sleep(self.interval)
        if not self.left:
            return None
        item = self.left.pop(0)
        if isinstance(item, Exception):
            raise item
        image = None if item is None else np.full((4, 6, 3), item, np.uint8)
        return ReadFrame(image, time.monotonic())

    def close(self):
        self.closed += 1


@pytest.fixture
def given():
    return GivenStream


@pytest.fixture
def serve():
    """Serves contents over http: serve(answer) → address, answer(handler) writes the response."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # the client closes connections
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def answer_file():
    """Makes an answer of a file: with or without its length, and of a part of it only."""

    def make(path, *, length=True, share=1.0):
        data = path.read_bytes()

        def answer(handler):
            handler.send_response(200)
            if length:
                handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[: int(share * len(data))])

        return answer

    return make
