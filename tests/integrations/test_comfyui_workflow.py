"""The documentation's workflow runs in ComfyUI, headless on the CPU.

The test needs a clone of ComfyUI in COMFYUI_PATH. COMFYUI_PYTHON is a Python with ComfyUI's requirements; the default
is the current one.
"""
from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

COMFYUI = os.environ.get("COMFYUI_PATH")
pytestmark = pytest.mark.skipif(not COMFYUI, reason="COMFYUI_PATH is not set to a clone of ComfyUI")
WORKFLOW = ROOT / "docs" / "comfyui_workflow.json"
SECONDS = 300


class Server:
    """A running ComfyUI."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> bytes:
        with urlopen(self.url + path, timeout=SECONDS) as answer:
            return answer.read()

    def post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        """Post JSON and return the response, even if it is an error."""
        request = Request(self.url + path, json.dumps(data).encode(), {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                return json.loads(answer.read() or "{}")
        except HTTPError as error:
            return json.loads(error.read())

    def finish(self, prompt: str) -> dict[str, Any]:
        """Wait until a workflow has ended, and return its entry in ComfyUI's history."""
        return wait(lambda: json.loads(self.get(f"/history/{prompt}")).get(prompt))

    def run(self, workflow: dict[str, Any]) -> tuple[list[Image.Image], str]:
        """Run a workflow, and return the saved images and the message of the node that failed."""
        done = self.finish(self.post("/prompt", {"prompt": workflow})["prompt_id"])
        errors = [data.get("exception_message", kind) for kind, data in done["status"]["messages"]
                  if kind in ("execution_error", "execution_interrupted")]  # fmt: skip
        saved = [image for output in done["outputs"].values() for image in output["images"]]
        files = (io.BytesIO(self.get(f"/view?{urlencode(image)}")) for image in saved)
        return [Image.open(file) for file in files], "".join(errors).strip()


def wait(poll: Any) -> Any:
    """Call `poll` until it returns a true value, and return that value."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if value := poll():
            return value
        time.sleep(0.1)
    raise TimeoutError


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """ComfyUI with the node's folder linked into `custom_nodes`, two images, and a damaged checkpoint."""
    base = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes", "input", "models/upscale_models", "user"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / "liif_basicsr").symlink_to(ROOT / "liif_basicsr" / "integrations" / "comfyui")
    (base / "models" / "upscale_models" / "damaged.safetensors").write_bytes(b"no checkpoint")
    y, x = np.mgrid[:24, :32]
    image = Image.fromarray(np.stack([8 * x, 10 * y, 4 * (x + y)], -1).astype(np.uint8))
    image.save(base / "input" / "photo.jpg")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(base / "input" / "flipped.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        os.environ.get("COMFYUI_PYTHON", sys.executable), "main.py", "--cpu", "--port", str(port),
        "--base-directory", str(base), "--disable-api-nodes", "--database-url", "sqlite:///:memory:",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(base / "log.txt", "w") as log:
        process = subprocess.Popen(command, cwd=COMFYUI, env=env, stdout=log, stderr=log)
    running = Server(f"http://127.0.0.1:{port}")

    def started() -> bool:
        assert process.poll() is None, (base / "log.txt").read_text()
        try:
            return bool(running.get("/system_stats"))
        except URLError:
            return False

    try:
        wait(started)
        yield running
    finally:
        process.terminate()
        process.wait()


def workflow(**inputs: Any) -> dict[str, Any]:
    """Return the documentation's workflow, with changed inputs of the node."""
    graph = json.loads(WORKFLOW.read_text())
    graph["2"]["inputs"].update(inputs)
    return graph


def test_workflow_upscales(server):
    images, error = server.run(workflow())
    assert [image.size for image in images] == [(80, 60)] and not error


def test_batch_of_exact_size(server):
    graph = workflow(image=["5", 0], model="liif-fast", width=50, height=70, strength=0.5)
    graph["4"] = {"class_type": "LoadImage", "inputs": {"image": "flipped.png"}}
    graph["5"] = {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["4", 0]}}
    images, error = server.run(graph)
    assert [image.size for image in images] == [(50, 70)] * 2 and not error
    first, second = (np.asarray(image).astype(int) for image in images)
    assert abs(first - second[:, ::-1]).max() < 40 < abs(first - second).max()


def test_bad_input_is_reported_in_one_line(server):
    images, error = server.run(workflow(width=20))
    assert not images
    assert error == "the output of 20x15 pixels would be smaller than the image of 32x24; choose a larger size"
    images, error = server.run(workflow(model="damaged.safetensors"))
    assert not images and "damaged.safetensors: not a safetensors file, or damaged" in error and "\n" not in error
    refusal = server.post("/prompt", {"prompt": workflow(scale=0.5)})
    assert refusal["node_errors"]["2"]["errors"][0]["message"] == "Value 0.5 smaller than min of 1.0"


def test_interrupt(server):
    graph = workflow(width=3200)
    prompt = server.post("/prompt", {"prompt": graph})["prompt_id"]
    wait(lambda: json.loads(server.get("/queue"))["queue_running"])
    while not (done := json.loads(server.get(f"/history/{prompt}"))):
        server.post("/interrupt", {})
        time.sleep(0.1)
    assert done[prompt]["status"]["messages"][-1][0] == "execution_interrupted"
    assert not server.run(workflow(model="liif-fast"))[1]
