"use strict";

const CORNERS = ["top left", "top right", "bottom right", "bottom left"];

/**
 * Four corners that are picked with the mouse, dragged, and made a rectangle by the server: shown as a preview, and
 * saved in full quality.
 */
class Corners {
  /** `method`: a function to the number of the network that is asked. */
  constructor(map, name, method) {
    this._map = map;
    this._name = name;
    this._method = method;
    this._markers = [];
    this._outline = L.polygon([], { pane: "outline", interactive: false, color: "#fd0", weight: 2, fill: false });
    this._controller = null;
    map.on("click", ({ latlng }) => this._add(latlng));
    byId("rectify").addEventListener("click", () => this.begin());
    byId("cancel").addEventListener("click", () => this.end());
    byId("save-region").addEventListener("click", () => this._save());
    byId("scale").addEventListener("change", () => this._preview());
    document.addEventListener("keydown", (event) => this._key(event));
  }

  begin() {
    this.end();
    this._picking = true;
    this._map.doubleClickZoom.disable(); // two corners may be picked quickly
    this._map.getContainer().classList.add("picking");
    byId("region").hidden = false;
    this._outline.addTo(this._map);
    this._ask();
  }

  end() {
    this._controller?.abort();
    for (const marker of this._markers) marker.remove();
    this._markers = [];
    this._draw();
    this._outline.remove();
    this._stopPicking();
    byId("preview").removeAttribute("src");
    byId("save-region").disabled = true;
    byId("region").hidden = true;
  }

  _stopPicking() {
    this._picking = false;
    this._map.doubleClickZoom.enable();
    this._map.getContainer().classList.remove("picking");
  }

  _key({ key, target, ctrlKey, metaKey, altKey }) {
    if (ctrlKey || metaKey || altKey || target.closest("select")) return;
    if (key === "Escape") this.end();
    if (key === "r" || key === "R") this.begin();
  }

  _ask() {
    byId("region-status").value = `click the ${CORNERS[this._markers.length]} corner`;
  }

  _add(latlng) {
    if (!this._picking) return;
    const icon = L.divIcon({ className: "corner", iconSize: [16, 16] });
    const marker = L.marker(latlng, { icon, draggable: true, keyboard: false }).addTo(this._map);
    marker.on("drag", () => this._draw());
    marker.on("dragend", () => this._preview());
    this._markers.push(marker);
    this._draw();
    if (this._markers.length < CORNERS.length) return this._ask();
    this._stopPicking();
    this._preview();
  }

  _draw() {
    this._outline.setLatLngs(this._markers.map((marker) => marker.getLatLng()));
    byId("corners").value = this._markers.length < CORNERS.length ? "" : `--quad ${this._places().join(" ")}`;
  }

  /** The corners as the command `warp` takes them: in pixels x,y whose centres are whole numbers. */
  _places() {
    return this._markers.map((marker) => {
      const { lat, lng } = marker.getLatLng();
      return [lng - 0.5, -lat - 0.5].map((n) => Number(n.toFixed(2))).join(",");
    });
  }

  async _preview() {
    if (this._markers.length < CORNERS.length) return;
    byId("save-region").disabled = true;
    await this._get("preview", "rectifying…", (blob) => show(byId("preview"), blob));
  }

  async _save() {
    byId("save-region").disabled = true;
    await this._get("saved", "saving…", (blob) => download(blob, `${this._name}-rectified.png`));
  }

  /** Have the server make the rectangle, and use it; what went wrong is shown, and the corners stay. */
  async _get(kind, doing, use) {
    this._controller?.abort();
    const controller = new AbortController();
    this._controller = controller;
    byId("region-status").value = doing;
    let said = "";
    try {
      const path = [kind, this._method(), ...this._places(), `${byId("scale").value}.png`].join("/");
      const response = await fetch(path, { signal: controller.signal });
      if (response.ok) await use(await response.blob());
      else said = response.status === 422 ? await response.text() : `failed: ${response.statusText}`;
    } catch (error) {
      said = error instanceof TypeError ? GONE : `failed: ${error.message}`;
    }
    if (controller.signal.aborted) return;
    byId("region-status").value = said;
    if (said && kind === "preview") byId("preview").removeAttribute("src");
    else byId("save-region").disabled = false;
  }
}

/** Show a file in an image. */
function show(image, blob) {
  const url = URL.createObjectURL(blob);
  return new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = reject;
    image.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}
