"""The viewer's server. It serves the page of one image and the tiles of that image, on the loopback interface.

The HTTP server of the standard library is sufficient for one user and needs no installation. A request can
only name content in memory or an existing tile, so it cannot reach files on disk.
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
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import SEEK_END, BufferedIOBase, BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import torch

from liif_basicsr.errors import LIIFError, errors_about, summarize
from liif_basicsr.images.formats import collect_notes
from liif_basicsr.images.loaded import LoadedImage
from liif_basicsr.images.reading import read, to_srgb
from liif_basicsr.images.suffixes import check_not_raw
from liif_basicsr.viewer.rectify import Rectifier, Region
from liif_basicsr.viewer.tiles import STEPS, TILE, Tiles, detailed_spot

# Maximum number of simultaneous requests. A browser sends six.
MAX_REQUESTS = 32
# Maximum size in bytes of an image file that the page opens.
MAX_UPLOAD = 1 << 30
# The path is tiles/METHOD/STRENGTH/LEVEL/ROW,COLUMN;ROW,COLUMN;... with the strength in percent.
TILES_PATH = re.compile(
    r"tiles/([0-9])/([0-9]{1,3})/(-?[0-9]{1,3})/([0-9]{1,6},[0-9]{1,6}(?:;[0-9]{1,6},[0-9]{1,6}){0,999})"
)
# The path is preview/METHOD/X,Y/X,Y/X,Y/X,Y/SCALE.png with the four corners, or starts with saved/ instead.
REGION_PATH = re.compile(
    r"(preview|saved)/([0-9])/((?:-?[0-9]{1,7}(?:\.[0-9]{1,3})?,-?[0-9]{1,7}(?:\.[0-9]{1,3})?/){4})"
    r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\.png"
)
# Number of tiles that a response queues for decoding. A longer queue would delay the other side of the page, because
# both networks use the same thread. (From Python 3.14 on, Executor.map has the argument `buffersize` for this.)
AHEAD = 4
CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ImagePage:
    """The page of one image. Its URL is secret, so that other users and other web pages cannot request it.

    Args:
        tiles: tiles of the displayed image.
        source: the file's own pixels and metadata.
        path: path of the image file, for the command that the page shows.
        models: name of a network on the page -> its `--model` argument in that command; by default, the name itself.
        notes: harmless faults of the file, one line each.
    """

    def __init__(
        self,
        tiles: Tiles,
        source: LoadedImage,
        path: str,
        models: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.tiles, self.models = tiles, models or {}
        self.rectifier = Rectifier(tiles, source)
        self.prefix = f"/{secrets.token_urlsafe(16)}/"
        methods = range(len(tiles.methods))
        info = {
            "name": Path(path).name, "path": path, "notes": notes,
            "width": tiles.image.width, "height": tiles.image.height, "spot": detailed_spot(tiles.image),
            "tile": TILE, "steps": STEPS, "min_level": tiles.min_level, "max_level": tiles.max_level,
            "methods": tiles.methods, "sides": tiles.sides, "mixable": [tiles.mixable(method) for method in methods],
            "models": [self.models.get(name, name) for name in tiles.methods],
        }  # fmt: skip
        self.files = {
            file.name: (CONTENT_TYPES[file.suffix], file.read_bytes())
            for file in (Path(__file__).parent / "page").iterdir()
        }
        self.files[""] = self.files.pop("index.html")
        self.files["image.json"] = ("application/json", json.dumps(info).encode())
        self.files["image.jpg"] = ("image/jpeg", tiles.overview())

    def for_file(self, file: BufferedIOBase, size: int, name: str) -> ImagePage:
        """Read another image from the next `size` bytes of a file, and return its page.

        Raises:
            LIIFError: the image cannot be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "image")
            with copy.open("wb") as target:
                for start in range(0, size, 1 << 20):
                    target.write(file.read(min(1 << 20, size - start)))
            with errors_about(name):
                check_not_raw(Path(name))
                source = read(copy)
                with collect_notes() as notes:
                    image = to_srgb(source)
        return ImagePage(self.tiles.for_image(image), source, name, self.models, (*source.notes, *notes))


class Server(ThreadingHTTPServer):
    """Serves the page of one image on 127.0.0.1.

    Args:
        page: page of the first image. If the user opens another image, the page of that image replaces it.
        port: number of the port, or 0 for any free port.

    Raises:
        LIIFError: the port cannot be used.
    """

    daemon_threads = True

    def __init__(self, page: ImagePage, port: int = 0) -> None:
        self.page = page
        self.closed = threading.Event()
        self.slots = threading.BoundedSemaphore(MAX_REQUESTS)
        # All networks share one thread, because torch itself uses all cores. Bicubic tiles have their own thread, so
        # that they do not wait for the networks.
        *networks, bicubic = page.tiles.methods
        self.workers = [ThreadPoolExecutor(1)] * len(networks) + [ThreadPoolExecutor(1, bicubic)]
        # Saving a region takes minutes, so regions have their own thread.
        self.rectifying = ThreadPoolExecutor(1, "rectifying")
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LIIFError(f"--port {port}: {reason}; choose another port, or 0 for any free one") from None
        self.hosts = {f"{host}:{self.server_port}" for host in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.server_port}{self.page.prefix}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a request in a thread. If MAX_REQUESTS are being served already, close the connection."""
        if self.slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a request, then make room for another one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the browser has closed the connection or the server is shutting down."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, CancelledError)):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the server, cancel the queued tiles, and stop rectifying."""
        super().server_close()
        self.closed.set()
        for worker in (*self.workers, self.rectifying):
            worker.shutdown(cancel_futures=True)


class Handler(BaseHTTPRequestHandler):
    """Answers requests. GET returns a file of the page, tiles or a rectified region. POST opens an image.

    All other requests are refused.
    """

    server: Server
    timeout = 10  # seconds within which a request must arrive

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        if (found := self._page_and_path()) is None:
            return
        page, path = found
        if match := TILES_PATH.fullmatch(path):
            return self._send_tiles(page, *match.groups())
        if match := REGION_PATH.fullmatch(path):
            return self._send_region(page, *match.groups())
        if path not in page.files:
            return self.send_error(HTTPStatus.NOT_FOUND)
        content_type, content = page.files[path]
        self._send(content_type, BytesIO(content), cacheable=True)

    def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
        """Open the image file in the request's body, and return the path of its page."""
        if (found := self._page_and_path()) is None:
            return
        page, path = found
        if not path.startswith("open/"):
            return self.send_error(HTTPStatus.NOT_FOUND)
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,10}", length) or not 0 < int(length) <= MAX_UPLOAD:
            return self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            self.server.page = page.for_file(self.rfile, int(length), unquote(path.removeprefix("open/")))
        except (LIIFError, MemoryError, OSError) as error:
            return self._send_failure(error)
        self._send("text/plain; charset=utf-8", BytesIO(self.server.page.prefix.encode()))

    def _page_and_path(self) -> tuple[ImagePage, str] | None:
        """Return the page and the request's path relative to it.

        If the request names another host or page, send an error and return None.
        """
        # The host name of a foreign page may resolve to this machine (DNS rebinding), but requests from that page
        # still name its host.
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        page = self.server.page
        path = self.path.removeprefix(page.prefix)
        if path == self.path:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return page, path

    def _send(
        self, content_type: str, content: IO[bytes], cacheable: bool = False, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        """Send a response. Browsers may keep it if it is `cacheable`."""
        with content:
            length = content.seek(0, SEEK_END)
            content.seek(0)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(length))
            # Each image has a new secret path, so a cached file is never stale.
            self.send_header("Cache-Control", "private, max-age=86400" if cacheable else "no-store")
            self.end_headers()
            shutil.copyfileobj(content, self.wfile)

    def _send_failure(self, error: Exception) -> None:
        """Send an error as one line, unless the connection itself has failed."""
        if isinstance(error, ConnectionError):
            raise error
        line = BytesIO(summarize(error).encode())
        self._send("text/plain; charset=utf-8", line, status=HTTPStatus.UNPROCESSABLE_ENTITY)

    def _send_tiles(self, page: ImagePage, method: str, strength: str, level: str, places: str) -> None:
        """Send several tiles in one response, because one response per tile would be slower.

        Each tile is sent as soon as it is decoded.
        """
        tiles, number = page.tiles, int(method)
        keys = [(int(level), *map(int, place.split(","))) for place in places.split(";")]
        if not (
            number < len(tiles.methods)
            and (strength == "100" or (int(strength) < 100 and tiles.mixable(number)))
            and all(tiles.has(*key) for key in keys)
        ):
            return self.send_error(HTTPStatus.NOT_FOUND)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

        def decode(key: tuple[int, ...]) -> bytes | None:
            # The browser abandons a request when the user moves to another part of the image.
            return None if self._abandoned() else tiles.rgba(number, int(strength), *key)

        worker = self.server.workers[number]
        rest = iter(keys)
        queued = deque(worker.submit(decode, key) for key in islice(rest, AHEAD))
        while queued:
            tile = queued.popleft().result()
            queued.extend(worker.submit(decode, key) for key in islice(rest, 1))
            if tile is None:
                return
            self.wfile.write(tile)

    def _send_region(self, page: ImagePage, kind: str, method: str, corners: str, scale: str) -> None:
        """Rectify a region and send it as a PNG file."""
        x_y = [float(n) for n in re.split("[,/]", corners)[:-1]]
        region = Region(int(method), list(zip(x_y[::2], x_y[1::2], strict=True)), float(scale))
        if region.method >= len(page.rectifier.warpers):
            return self.send_error(HTTPStatus.NOT_FOUND)
        try:
            file = self.server.rectifying.submit(self._rectify, page.rectifier, kind, region).result()
        except (LIIFError, MemoryError, OSError, torch.cuda.OutOfMemoryError) as error:
            return self._send_failure(error)
        self._send("image/png", file)

    def _rectify(self, rectifier: Rectifier, kind: str, region: Region) -> IO[bytes]:
        self._check_wanted(0)
        if kind == "preview":
            return BytesIO(rectifier.preview(region, self._check_wanted))
        file = tempfile.TemporaryFile()  # on disk, because the file may be large and is sent only when it is complete
        try:
            rectifier.save(region, file, self._check_wanted)
        except BaseException:
            file.close()
            raise
        return file

    def _check_wanted(self, pixels: int) -> None:
        """Raise ConnectionAbortedError if the request is abandoned or the server is closed.

        This is a progress callback, so it takes a number of pixels, but ignores it.
        """
        if self.server.closed.is_set() or self._abandoned():
            raise ConnectionAbortedError

    def _abandoned(self) -> bool:
        """Return whether the browser has abandoned its request by closing the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def end_headers(self) -> None:
        """Add the security headers to every response, including errors."""
        for header, value in HEADERS.items():
            self.send_header(header, value)
        super().end_headers()

    def version_string(self) -> str:
        """Return the value of the Server header, without Python's version."""
        return "liif_basicsr"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing, because there would be a line for every tile."""
