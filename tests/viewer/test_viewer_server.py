"""The viewer's server serves its page and its tiles, opens images, and refuses all other requests."""
import concurrent.futures
import http.client
import io
import json
import socket
import threading
import time
from itertools import permutations

import pytest
from PIL import Image
from test_viewer import make_tiles

from liif_basicsr.errors import LIIFError
from liif_basicsr.images.reading import from_image
from liif_basicsr.viewer.server import MAX_REQUESTS, MAX_UPLOAD, Handler, ImagePage, Server
from liif_basicsr.viewer.tiles import TILE


@pytest.fixture
def server():
    tiles = make_tiles()
    with Server(ImagePage(tiles, from_image(tiles.image), "photo.png")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path="", method="GET", host=None, prefix=True, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, (server.page.prefix if prefix else "") + path, skip_host=True)
    for value in [f"127.0.0.1:{server.server_port}"] if host is None else host:
        connection.putheader("Host", value)
    if body is not None:
        headers.setdefault("Content_Length", len(body))
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def test_page_files_and_tiles_are_served(server):
    kinds = {"": "text/html; charset=utf-8", "tiles.js": "text/javascript", "viewer.css": "text/css"}
    kinds |= {"image.jpg": "image/jpeg", "tiles/0/100/2/0,0": "application/octet-stream"}
    for path, kind in kinds.items():
        response, content = ask(server, path)
        assert response.status == 200 and response.headers["Content-Type"] == kind and content
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert json.loads(ask(server, "image.json")[1])["name"] == "photo.png"
    assert ask(server, "tiles/0/100/2/0,0")[1] == server.page.tiles.rgba(0, 100, 2, 0, 0)


def test_listens_on_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("host", [["evil.example"], ["evil.example:{port}"], ["127.0.0.1"], ["127.0.0.1:1"], [], [""],
                                  ["127.0.0.1:{port}", "evil.example"], ["127.0.0.1:{port}.evil.example"]])
def test_a_foreign_host_is_refused(server, host):
    assert ask(server, host=[name.format(port=server.server_port) for name in host])[0].status == 421


def test_localhost_by_name_is_accepted(server):
    assert ask(server, host=[f"localhost:{server.server_port}"])[0].status == 200


@pytest.mark.parametrize("path", ["/", "/image.json", "/tiles/0/100/2/0,0", "*", "//", "/x/",
                                  "image.json", "tiles/0/100/2/0,0"])
def test_nothing_is_served_without_the_secret(server, path):
    assert ask(server, path, prefix=False)[0].status == 404


@pytest.mark.parametrize("path", [
    "index.html", "server.py", "../server.py", "..%2f..%2fsetup.cfg", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
    "tiles", "tiles/", "tiles/0/100/2/0,0/../../../../../etc/passwd", "tiles/0/100/2/0,0?x=/etc/passwd",
    "tiles/0/100/2/0,0%00", "tiles/2/100/2/0,0", "tiles/0/100/2/0,0.png", "tiles/0/2/0,0", "tiles/0/99/2/0,0",
    "tiles/0/101/2/0,0", "tiles/0/0100/2/0,0", "tiles/0/100/2/0,0%0a", "tiles/0/100/2/", "tiles/0/100/2/0,0;",
    "tiles/0/100/2/-1,0", "tiles/0/100/2/0,-1", "tiles/0/100/2/0,1", "tiles/0/100/2/1,0", "tiles/0/100/2/0,0;0,1",
    "tiles/0/100/2/;0,0", "tiles/0/100/33/0,0", "tiles/0/100/999/0,0", "tiles/0/100/-99/0,0", "tiles/0/100/--1/0,0",
    "tiles/0/100/2/0,0,0", "tiles/0/100/2/0;0", "tiles/0/100/2/999999,999999", "tiles/0/100/2/99999999999999999999,0",
    f"tiles/0/100/{'9' * 5000}/0,0", f"tiles/0/100/2/0,0{';0,0' * 1000}", "tiles/0/100/1e1/0,0",
    "tiles/0/100/2/0x0,0", "tiles/0/100/2/ 0,0", "tiles/0/100/nan/0,0",
    "tiles/0/\u0663/0,0".encode().decode("latin-1"), "viewer.css/", "VIEWER.CSS", "image.json?",
    "preview/1/1,1/9,1/9,9/1,9/1.png", "preview/0/1,1/9,1/9,9/1.png", "preview/0/1,1/9,1/9,9/1,9/1,5/1.png",
    "saved/0/1,1/9,1/9,9/1,nan/1.png", "saved/0/1,1/9,1/9,9/1,9/-1.png", "saved/0/1,1/9,1/9,9/1,99999999/1.png",
])  # fmt: skip
def test_other_paths_are_refused_without_work(server, path):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as raw:
        request = f"GET {server.page.prefix}{path} HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
        raw.sendall(request.encode("latin-1"))
        status = int(raw.makefile("rb").readline().split()[1])
    assert status == 404 or (" " in path and status == 400)
    assert server.page.tiles.rgba.cache_info().currsize == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_other_methods_are_refused(server, method):
    assert ask(server, method=method)[0].status == 501


@pytest.mark.parametrize("request_line", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
                                          b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.0\r\n\r\n",
                                          b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n"])
def test_malformed_requests_do_not_stop_the_server(server, request_line):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as raw:
        raw.sendall(request_line)
        raw.shutdown(socket.SHUT_WR)
        try:
            assert b" 200 " not in raw.recv(100)
        except ConnectionError:
            pass
    assert ask(server)[0].status == 200


def png(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


def test_an_image_is_opened_under_a_new_secret_path(server):
    first = server.page
    response, content = ask(server, "open/a%20%C3%A4.png", "POST", body=png(30, 20))
    assert response.status == 200 and content.decode() == server.page.prefix != first.prefix
    info = json.loads(ask(server, "image.json")[1])
    assert [info[key] for key in ("name", "path", "width", "height")] == ["a ä.png", "a ä.png", 30, 20]
    assert ask(server, "tiles/0/100/2/0,0")[1] == server.page.tiles.rgba(0, 100, 2, 0, 0)
    assert server.page.tiles.methods == first.tiles.methods
    assert ask(server, first.prefix, prefix=False)[0].status == 404


@pytest.mark.parametrize("body", [b"no image", png(30, 20)[:-30], b"\x89PNG\r\n\x1a\n"])
def test_invalid_images_are_reported_and_not_opened(server, body):
    first = server.page
    response, content = ask(server, "open/photo%0A.png", "POST", body=body)
    assert response.status == 422 and content.startswith(b"photo") and len(content.splitlines()) == 1
    assert server.page is first


def test_raw_files_of_cameras_are_not_opened(server):
    """Raw photographs may be TIFF files with a thumbnail."""
    response, content = ask(server, "open/photo.NEF", "POST", body=png(30, 20))
    assert response.status == 422 and content.startswith(b"photo.NEF: is a camera's raw file")


@pytest.mark.parametrize("request_, status", [
    ({"host": ["evil.example"]}, 421), ({"prefix": False, "path": "/open/a.png"}, 404), ({"path": "a.png"}, 404),
    ({"path": "tiles/0/100/2/0,0"}, 404), ({"body": None}, 413), ({"body": b""}, 413),
    ({"Content_Length": MAX_UPLOAD + 1}, 413), ({"Content_Length": -1}, 413), ({"Content_Length": "x"}, 413),
])  # fmt: skip
def test_other_uploads_are_refused(server, request_, status):
    first = server.page
    request_ = {"path": "open/a.png", "body": png(30, 20), **request_}
    assert ask(server, method="POST", **request_)[0].status == status
    assert server.page is first


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_simultaneous_requests_are_limited(server, monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 120)  # longer than the test takes
    held = [socket.create_connection(("127.0.0.1", server.server_port), timeout=30) for _ in range(MAX_REQUESTS)]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as one_more:
        assert one_more.recv(1) == b""
    for connection in held:
        connection.close()

    def serves():
        try:
            return ask(server)[0].status == 200
        except (ConnectionError, http.client.RemoteDisconnected):
            return False

    wait_until(serves)


def test_a_tile_of_a_closed_request_is_not_decoded(server):
    busy, done = threading.Event(), threading.Event()
    worker = server.workers[0]
    worker.submit(busy.wait)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as gone:
        path = f"{server.page.prefix}tiles/0/100/2/0,0"
        gone.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        wait_until(lambda: worker._work_queue.qsize() == 1)
    worker.submit(done.set)
    busy.set()
    assert done.wait(60)
    assert server.page.tiles.rgba.cache_info().currsize == 0


QUAD = "3,2/60.5,4/61,50/2,55"


def test_a_region_is_previewed_and_saved_and_not_cached(server):
    for kind in ("preview", "saved"):
        response, content = ask(server, f"{kind}/0/{QUAD}/1.png")
        assert response.status == 200 and response.headers["Content-Type"] == "image/png"
        assert response.headers["Cache-Control"] == "no-store"
        assert Image.open(io.BytesIO(content)).size == (60, 54)


@pytest.mark.parametrize("path, says", [
    ("3,2/60,4/2,55/61,50/1", "cross"), ("3,2/60,2/30,2/2,55/1", "line"), ("2,55/61,50/60,4/3,2/1", "mirror"),
    ("0,0/9000,0/9000,9000/0,9000/1", "too large"), (f"{QUAD}/999", "too large"), (f"{QUAD}/0", "scale"),
])  # fmt: skip
def test_invalid_regions_are_reported_in_one_line(server, path, says):
    for kind in ("preview", "saved"):
        response, content = ask(server, f"{kind}/0/{path}.png")
        assert response.status == 422 and response.headers["Content-Type"].startswith("text/plain")
        assert says in content.decode() and "\n" not in content.decode()


def test_a_region_is_aborted_with_its_request_and_with_the_server(server, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def save(region, file, done):
        begun.set()
        try:
            while True:
                time.sleep(0.01)
                done(1)
        finally:
            ended.set()

    monkeypatch.setattr(server.page.rectifier, "save", save)
    request = f"GET {server.page.prefix}saved/0/{QUAD}/1.png HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
    for close in (True, False):
        begun.clear()
        ended.clear()
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
            connection.sendall(request.encode())
            assert begun.wait(60)
            if not close:
                assert not ended.wait(0.2)
                server.closed.set()
                assert ended.wait(60)
        assert ended.wait(60)


def test_parallel_requests_get_the_right_tiles(server):
    level = 5  # 2 x 2 tiles
    places = [(row, col) for row in (0, 1) for col in (0, 1)]
    asked = [(method, order) for method in (0, 1) for order in permutations(places, 3)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        paths = [f"tiles/{method}/100/{level}/{';'.join(f'{r},{c}' for r, c in order)}" for method, order in asked]
        got = pool.map(lambda path: ask(server, path), paths)
        for (method, order), (response, content) in zip(asked, got, strict=True):
            expected = b"".join(server.page.tiles.rgba(method, 100, level, *place) for place in order)
            assert response.status == 200 and content == expected
    assert server.page.tiles.rgba.cache_info().currsize == 8


def test_each_tile_is_sent_when_it_is_decoded(server):
    made, go_on = server.page.tiles.rgba, threading.Event()

    def rgba(*key):
        assert key[-1] == 0 or go_on.wait(60)
        return made(*key)

    server.page.tiles.rgba = rgba
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as raw:
        host = f"Host: 127.0.0.1:{server.server_port}"
        raw.sendall(f"GET {server.page.prefix}tiles/0/100/5/0,0;0,1 HTTP/1.0\r\n{host}\r\n\r\n".encode())
        answer = raw.makefile("rb")
        while answer.readline().strip():
            pass
        assert answer.read(TILE * TILE * 4) == made(0, 100, 5, 0, 0)
        go_on.set()
        assert answer.read() == made(0, 100, 5, 0, 1)


def test_invalid_ports_are_named(server):
    for port in (server.server_port, 70000):
        with pytest.raises(LIIFError, match=f"--port {port}: .*; choose another port"):
            Server(server.page, port)
