"use strict";

const CORNERS = ["top left", "top right", "bottom right", "bottom left"];

/**
 * The four corners of a region, which the user picks on the image. The server rectifies the region, as a preview and as
 * a file in full quality.
 */
class Corners {
  /** `network`: function that returns the network to use: its index (method) and its name in commands (model). */
  constructor(view, stem, network) {
    this._view = view;
    this._stem = stem;
    this._network = network;
    this._corners = []; // { point: [x, y] in image pixels, handle }
    this._controller = null;
    this.picking = false;
    byId("rectify").addEventListener("click", () => this.begin());
    byId("cancel").addEventListener("click", () => this.end());
    byId("save-region").addEventListener("click", () => this._save());
    byId("scale").addEventListener("change", () => this.preview());
  }

  begin() {
    this.end();
    this.picking = true;
    this._view.canvas.classList.add("picking");
    byId("saving").hidden = true;
    byId("region").hidden = false;
    this._prompt();
  }

  end() {
    this._controller?.abort();
    for (const { handle } of this._corners) handle.remove();
    this._corners = [];
    this.draw();
    this._stopPicking();
    byId("preview").removeAttribute("src");
    byId("save-region").disabled = true;
    byId("region").hidden = true;
  }

  /** Add the next corner, if corners are being picked. */
  add(point) {
    if (!this.picking) return;
    const corner = { point, handle: document.createElement("button") };
    corner.handle.className = "corner";
    corner.handle.ariaLabel = `${CORNERS[this._corners.length]} corner`;
    this._makeDraggable(corner);
    document.body.insertBefore(corner.handle, byId("top"));
    this._corners.push(corner);
    this.draw();
    if (this._corners.length < CORNERS.length) return this._prompt();
    this._stopPicking();
    this.preview();
  }

  /** Move the handles and the outline to their positions in the current view. */
  draw() {
    const { ratio } = this._view;
    const places = this._corners.map(({ point }) => this._view.toScreen(point).map((n) => n / ratio));
    this._corners.forEach(({ handle }, k) => { handle.style.translate = places[k].map((n) => `${n}px`).join(" "); });
    byId("outline").querySelector("polygon").setAttribute("points", places.map((place) => place.join(",")).join(" "));
    const complete = this._corners.length === CORNERS.length;
    byId("corners").value = complete ? `--quad ${this._arguments().join(" ")} --model ${this._network().model}` : "";
  }

  _stopPicking() {
    this.picking = false;
    this._view.canvas.classList.remove("picking");
  }

  _prompt() {
    byId("region-status").value = `click the ${CORNERS[this._corners.length]} corner`;
  }

  _makeDraggable(corner) {
    const { handle } = corner, view = this._view;
    const move = (right, down) => {
      corner.point = [corner.point[0] + right / view.scale, corner.point[1] + down / view.scale];
      this.draw();
    };
    let last = null;
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      last = event;
    });
    handle.addEventListener("pointermove", (event) => {
      if (!last) return;
      move((event.clientX - last.clientX) * view.ratio, (event.clientY - last.clientY) * view.ratio);
      last = event;
    });
    handle.addEventListener("pointerup", () => {
      last = null;
      this.preview();
    });
    handle.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.stopPropagation();
      event.preventDefault();
      move(...step);
      this.preview();
    });
  }

  /** The corners as arguments of the command `warp`: x,y with pixel centers at integers. */
  _arguments() {
    return this._corners.map(({ point }) => point.map((n) => Number((n - 0.5).toFixed(2))).join(","));
  }

  /** Update the preview. Call this after a corner, the scale or the network has changed. */
  async preview() {
    if (this._corners.length < CORNERS.length) return;
    byId("save-region").disabled = true;
    await this._request("preview", "rectifying…", (blob) => show(byId("preview"), blob));
  }

  async _save() {
    byId("save-region").disabled = true;
    await this._request("saved", "saving…", (blob) => download(blob, `${this._stem}-rectified.png`));
  }

  /** Request the rectangle, and pass it to `use`. After an error, show its message and keep the corners. */
  async _request(kind, progress, use) {
    this._controller?.abort();
    const controller = new AbortController();
    this._controller = controller;
    byId("region-status").value = progress;
    let error = "";
    try {
      const path = [kind, this._network().method, ...this._arguments(), `${byId("scale").value}.png`].join("/");
      const response = await fetch(path, { signal: controller.signal });
      if (response.ok) await use(await response.blob());
      else error = await errorOf(response);
    } catch (failure) {
      error = failure instanceof TypeError ? GONE : `failed: ${failure.message}`;
    }
    if (controller.signal.aborted) return;
    byId("region-status").value = error;
    if (error && kind === "preview") byId("preview").removeAttribute("src");
    else byId("save-region").disabled = false;
  }
}

/** Show a file in an image element. */
function show(image, blob) {
  const url = URL.createObjectURL(blob);
  return new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = reject;
    image.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}
