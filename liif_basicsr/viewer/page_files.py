"""The files of the viewer's page: its own, and Leaflet's."""
from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from liif_basicsr.errors import LIIFError

CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}


def page_files() -> dict[str, tuple[str, bytes]]:
    """The page's files and Leaflet's, path to (content type, content).

    Raises:
        LIIFError: Leaflet is not installed.
    """
    spec = find_spec("js_lib_leaflet")  # found, not imported: a Django application, only its files are used
    if spec is None or spec.origin is None:
        raise LIIFError("view needs Leaflet, which shows the tiles: pip install 'liif_basicsr[view]'")
    leaflet = Path(spec.origin).parent / "static" / "js_lib_leaflet"
    page = Path(__file__).parent / "page"
    files = [leaflet / "leaflet.js", leaflet / "leaflet.css"]
    scripts = ("overview.js", "tiles.js", "corners.js", "viewer.js")
    files += [page / name for name in (*scripts, "viewer.css", "index.html")]
    content = {file.name: (CONTENT_TYPES[file.suffix], file.read_bytes()) for file in files}
    content[""] = content.pop("index.html")
    return content
