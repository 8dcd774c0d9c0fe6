"""The viewer's server: serves one image on loopback, as the page and its tiles.

Python's own server is enough for one person and needs no installation. A request can name only what is in memory from
the start, or a tile whose numbers are in bounds: none reaches a file.
"""
from __future__ import annotations

import json
import re
import secrets
import select
import shutil
import socket
import sys
import tempfile
import threading
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import SEEK_END, BytesIO
from itertools import islice
from typing import IO, Any, NamedTuple

import torch

from liif_basicsr.errors import LIIFError, brief
from liif_basicsr.viewer.page_files import page_files
from liif_basicsr.viewer.rectify import Rectifier, Region
from liif_basicsr.viewer.tiles import STEPS, TILE, Tiles

# Requests that are served at a time; a browser sends six.
MAX_REQUESTS = 32
# method/level/row,column;row,column
TILES_PATH = re.compile(r"tiles/([0-9])/(-?[0-9]{1,3})/([0-9]{1,6},[0-9]{1,6}(?:;[0-9]{1,6},[0-9]{1,6}){0,999})")
# preview or saved/method/four corners x,y/scale
REGION_PATH = re.compile(
    r"(preview|saved)/([0-9])/((?:-?[0-9]{1,7}(?:\.[0-9]{1,3})?,-?[0-9]{1,7}(?:\.[0-9]{1,3})?/){4})"
    r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\.png"
)
# Tiles of an answer that are begun before the browser has taken the one before them; more would hold up the other side,
# whose network shares the thread. What Executor.map does with `buffersize`, from Python 3.14 on.
AHEAD = 4
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Response(NamedTuple):
    """What is sent for a request; `lasting` where it is always the same."""

    content_type: str
    content: IO[bytes]
    lasting: bool = True
    status: HTTPStatus = HTTPStatus.OK


class Server(ThreadingHTTPServer):
    """Serves one image on 127.0.0.1 under a secret path, unknown to other users and other pages.

    Args:
        tiles: the image.
        rectifier: makes rectangles of its regions.
        name: the name that the page shows.
        port: 0 for any free one.

    Raises:
        LIIFError: the port is taken, or the page's files are not installed.
    """

    daemon_threads = True

    def __init__(self, tiles: Tiles, rectifier: Rectifier, name: str, port: int = 0) -> None:
        self.tiles, self.rectifier = tiles, rectifier
        info = {"name": name, "width": tiles.image.width, "height": tiles.image.height, "tile": TILE}
        info.update(steps=STEPS, min_level=tiles.min_level, max_level=tiles.max_level)
        info.update(methods=tiles.methods, sides=tiles.sides)
        self.files = {**page_files(), "image.json": ("application/json", json.dumps(info).encode())}
        self.files["image.jpg"] = ("image/jpeg", tiles.overview())
        self.prefix = f"/{secrets.token_urlsafe(16)}/"
        self.closed = threading.Event()
        self.slots = threading.BoundedSemaphore(MAX_REQUESTS)
        # One thread for all networks: torch itself uses all cores. Bicubic tiles need not wait for it.
        *networks, bicubic = tiles.methods
        self.workers = [ThreadPoolExecutor(1)] * len(networks) + [ThreadPoolExecutor(1, bicubic)]
        # Another one, for a saved region takes minutes.
        self.rectifying = ThreadPoolExecutor(1, "rectifying")
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            raise LIIFError(f"--port {port}: {getattr(error, 'strerror', None) or error}") from None
        self.hosts = {f"{host}:{self.server_port}" for host in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a request in a thread, or close it if too many are being served."""
        if self.slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a request, then make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the browser has closed the connection or the server is shutting down."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, CancelledError)):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Stop without starting the tiles that are still queued, and without finishing a region."""
        super().server_close()
        self.closed.set()
        for worker in (*self.workers, self.rectifying):
            worker.shutdown(cancel_futures=True)


class Handler(BaseHTTPRequestHandler):
    """Serves the page's files and tiles to GET; everything else is refused."""

    server: Server
    timeout = 10  # seconds for a request to arrive

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            # A foreign page whose host name resolves to this machine (DNS rebinding) sends its own name.
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        path = self.path.removeprefix(self.server.prefix)
        if path == self.path:
            return self.send_error(HTTPStatus.NOT_FOUND)
        if match := TILES_PATH.fullmatch(path):
            return self._send_tiles(*match.groups())
        if (found := self._find(path)) is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        with found.content as content:
            length = content.seek(0, SEEK_END)
            content.seek(0)
            self.send_response(found.status)
            self.send_header("Content-Type", found.content_type)
            self.send_header("Content-Length", str(length))
            # Each start has a new secret path, so nothing cached can be stale.
            self.send_header("Cache-Control", "private, max-age=86400" if found.lasting else "no-store")
            self.end_headers()
            shutil.copyfileobj(content, self.wfile)

    def _send_tiles(self, method: str, level: str, places: str) -> None:
        """Send the pixels of tiles, each when it is made: in one answer, for an answer takes longer than a tile."""
        keys = [(int(method), int(level), *map(int, place.split(","))) for place in places.split(";")]
        if int(method) >= len(self.server.workers) or not all(self.server.tiles.has(*place) for _, *place in keys):
            return self.send_error(HTTPStatus.NOT_FOUND)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        worker = self.server.workers[int(method)]
        rest = iter(keys)
        begun = deque(worker.submit(self._tile, *key) for key in islice(rest, AHEAD))
        while begun:
            tile = begun.popleft().result()
            begun.extend(worker.submit(self._tile, *key) for key in islice(rest, 1))
            if tile is None:
                return
            self.wfile.write(tile)

    def _find(self, path: str) -> Response | None:
        """What is sent for a path; None if there is nothing."""
        if match := REGION_PATH.fullmatch(path):
            kind, number, corners, scale = match.groups()
            x_y = [float(n) for n in re.split("[,/]", corners)[:-1]]
            region = Region(int(number), list(zip(x_y[::2], x_y[1::2], strict=True)), float(scale))
            if region.method >= len(self.server.rectifier.warpers):
                return None
            return self.server.rectifying.submit(self._rectified, kind, region).result()
        file = self.server.files.get(path)
        return None if file is None else Response(file[0], BytesIO(file[1]))

    def _tile(self, *key: Any) -> bytes | None:
        """Make a tile, unless the browser has given it up meanwhile."""
        return None if self._given_up() else self.server.tiles.rgba(*key)

    def _rectified(self, kind: str, region: Region) -> Response:
        """Rectify a region, or say in one line why not."""
        file: IO[bytes] | None = None
        try:
            self._check_wanted(0)
            if kind == "preview":
                file = BytesIO(self.server.rectifier.preview(region, self._check_wanted))
            else:
                file = tempfile.TemporaryFile()  # no content before it is whole, and a region may be large
                self.server.rectifier.save(region, file, self._check_wanted)
            return Response("image/png", file, lasting=False)
        except (LIIFError, MemoryError, OSError, torch.cuda.OutOfMemoryError) as error:
            if file is not None:
                file.close()
            if isinstance(error, ConnectionError):
                raise
            line = BytesIO(brief(error).encode())
            return Response("text/plain; charset=utf-8", line, False, HTTPStatus.UNPROCESSABLE_ENTITY)

    def _check_wanted(self, pixels: int) -> None:
        """Raise ConnectionAbortedError if the browser has given up its request, or the server is closed."""
        if self.server.closed.is_set() or self._given_up():
            raise ConnectionAbortedError

    def _given_up(self) -> bool:
        """Whether the browser has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def end_headers(self) -> None:
        """Add the security headers to every response, including errors."""
        for header, value in HEADERS.items():
            self.send_header(header, value)
        super().end_headers()

    def version_string(self) -> str:
        """The value of the header Server, without Python's version."""
        return "liif_basicsr"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a line for every tile helps nobody."""
