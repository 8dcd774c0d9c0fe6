"use strict";

const NAMES = ["left", "right"];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
// Distance by which an arrow key moves the image, in CSS pixels.
const STEP = 80;
// An image that does not fit the screen at x1 opens at the level of x2, where the methods differ.
const OPENING = ({ steps }) => steps;

const byId = (id) => document.getElementById(id);
/** A scale factor as the page, file names and commands write it. */
const written = (factor, digits) => String(Number(factor.toPrecision(digits)));

/** Have the browser save a file. */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The server's one-line message for a failed request. */
async function errorOf(response) {
  return response.status === 422 ? response.text() : `failed: ${response.statusText}`;
}

/** Quote an argument for a shell where it needs quotes. */
function quoted(word) {
  if (/^[\w@%+=:,./\\-]+$/.test(word)) return word;
  return /["$`\\!]/.test(word) ? `'${word.replaceAll("'", "'\\''")}'` : `"${word}"`;
}

class Viewer {
  constructor(image) {
    this.image = image;
    this.stem = image.name.replace(/\.[^.]*$/, "");
    this._frame = null;
    this._error = "";
    byId("name").textContent = document.title = image.name;
    byId("name").title = image.path;
    const overview = new Image();
    overview.onload = () => this.draw();
    overview.src = "image.jpg";
    this.view = new View(byId("map"), image, () => this.update(), (point) => this.corners.add(point));
    const connection = new Connection(() => this.draw());
    this.connection = connection;
    const cache = new TileCache();
    this.sides = [];
    for (const side of NAMES.keys()) {
      this.sides.push(new Side({
        image, view: this.view, overview, cache, connection, method: image.sides[side],
        share: () => this.shares()[side], sides: this.sides, changed: () => this.draw(),
      }));
    }
    this.corners = new Corners(this.view, this.stem, () => {
      const method = this._networkShown();
      return { method, model: quoted(image.models[method]) };
    });
    this._makeControls();
    document.addEventListener("keydown", (event) => this._key(event));
    window.addEventListener("hashchange", () => this._restore());
    if (!this._restore()) this._begin();
  }

  /** The visible part of each side: its left and its right edge in device pixels. */
  shares() {
    const split = Math.round((this.view.width * byId("divider").value) / 100);
    return [[0, split], [split, this.view.width]];
  }

  /** Update the page after a change of the view, of a method or of the divider. */
  update() {
    if (!this.corners) return; // not yet constructed
    for (const side of this.sides) side.update();
    this.corners.draw();
    this._show();
    clearTimeout(this._writing);
    this._writing = setTimeout(() => this._write(), 200);
    this.draw();
  }

  /** Draw in the next frame. */
  draw() {
    this._frame ??= requestAnimationFrame(() => {
      this._frame = null;
      this._showStatus();
      const { canvas, width, height } = this.view;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      this._drawSides(canvas.getContext("2d", { alpha: false }), this.shares());
    });
  }

  _drawSides(context, shares) {
    const { canvas } = context;
    context.fillStyle = getComputedStyle(this.view.canvas).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.sides.forEach((side, k) => {
      const [left, right] = shares[k];
      if (right <= left) return;
      context.save();
      context.beginPath();
      context.rect(left, 0, right - left, canvas.height);
      context.clip();
      side.draw(context);
      context.restore();
    });
  }

  /** Open the view: the whole image if it fits the screen at more than x1, else a detailed part of it. */
  _begin() {
    const { image, view } = this;
    const large = view.zoom <= 0;
    if (large) view.show(...image.spot, Math.min(OPENING(image), image.max_level));
    else this.update();
    const first = large ? "This is only a part of the image; Fit (0) shows all of it." : "";
    this._hint([...image.notes, first, "Drag the white handle to compare; scroll or pinch to zoom; ? lists the keys."]);
  }

  _hint(lines) {
    byId("hint").textContent = lines.filter(Boolean).join(" ");
    byId("hint").hidden = false;
    const hide = () => { byId("hint").hidden = true; };
    for (const event of ["pointerdown", "wheel", "keydown"]) window.addEventListener(event, hide, { once: true });
  }

  /** Update the texts and controls for the current view: scale, size, methods, strengths, and ways to save it. */
  _show() {
    const { image, view, sides } = this;
    const factor = view.scale, original = view.level <= 0;
    byId("zoom").value = `×${written(factor, 3)}`;
    byId("size").value = [image.width, image.height].map((n) => Math.ceil(n * factor - 1e-6)).join(" × ");
    byId("zoom-in").disabled = view.level >= image.max_level;
    byId("zoom-out").disabled = view.level <= image.min_level;
    document.documentElement.style.setProperty("--split", `${byId("divider").value}%`);
    sides.forEach((side, k) => {
      const panel = byId(NAMES[k]);
      panel.querySelector("select").value = side.method;
      panel.querySelector(".strength").hidden = original || !image.mixable[side.method];
      panel.querySelector(".strength input").value = side.strength;
      panel.querySelector(".strength output").value = `${side.strength}%`;
      panel.querySelector(".note").textContent = original ? "shows the image itself up to ×1" : "";
      byId(`save-${NAMES[k]}`).textContent = `Save this view, ${NAMES[k]} side: ${this._label(side)}`;
    });
    byId("command").value = original ? "zoom in beyond ×1 for a command" : this._command();
    byId("copy").disabled = original;
  }

  _showStatus() {
    const busy = this.sides.some(({ loading }) => loading);
    for (const name of [...NAMES, "both"]) byId(`save-${name}`).disabled = busy;
    byId("status").value = this.connection.problem || this._error || (busy ? "decoding…" : "");
  }

  /** The method of a side and, below 100 %, its strength. */
  _label({ method, strength }) {
    const mixed = this.image.mixable[method] && strength < 100;
    return this.image.methods[method] + (mixed ? ` ${strength}%` : "");
  }

  /** Index of the network on the left side, or on the right side if the left shows bicubic; 0 if both show bicubic. */
  _networkShown() {
    return this.sides.map(({ method }) => method).find((method) => method < this.image.methods.length - 1) ?? 0;
  }

  /** The command that upscales the whole image with the network of `_networkShown`. */
  _command() {
    const { image, sides, stem } = this;
    const method = this._networkShown();
    const { strength } = sides.find((side) => side.method === method) ?? { strength: 100 };
    const scale = written(this.view.scale, 6);
    const words = ["upscale", image.path, `${stem}_x${scale}.png`, "--scale", scale, "--model", image.models[method]];
    if (image.mixable[method] && strength < 100) words.push("--strength", String(strength / 100));
    return `python -m liif_basicsr ${words.map(quoted).join(" ")}`;
  }

  _makeControls() {
    const { view, image } = this;
    const onClick = (id, action) => byId(id).addEventListener("click", action);
    onClick("zoom-in", () => view.zoomBy(1));
    onClick("zoom-out", () => view.zoomBy(-1));
    onClick("fit", () => view.fit());
    onClick("actual", () => view.show(view.x, view.y, 0));
    onClick("open", () => byId("file").click());
    onClick("save", () => this._toggleSaving());
    onClick("close-saving", () => this._toggleSaving());
    onClick("help", () => byId("keys").showModal());
    onClick("save-left", () => this._save([0]));
    onClick("save-right", () => this._save([1]));
    onClick("save-both", () => this._save([0, 1]));
    onClick("copy", async () => {
      await navigator.clipboard.writeText(byId("command").value);
      byId("copy").textContent = "Copied";
      setTimeout(() => { byId("copy").textContent = "Copy the command"; }, 2000);
    });
    byId("divider").addEventListener("input", () => this.update());
    byId("file").addEventListener("change", ({ target }) => target.files.length && this._open(target.files[0]));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this._open(event.dataTransfer.files[0]);
    });
    this.sides.forEach((side, k) => {
      const choice = byId(NAMES[k]).querySelector("select");
      const strength = byId(NAMES[k]).querySelector("input");
      choice.append(...image.methods.map((name, method) => new Option(name, method)));
      choice.addEventListener("change", () => {
        side.method = Number(choice.value);
        this.update();
        this.corners.preview();
      });
      strength.addEventListener("input", () => {
        side.strength = Number(strength.value);
        this.update();
      });
    });
  }

  _key(event) {
    const { key, target, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || byId("keys").open || target.closest("select, textarea")) return;
    const { view } = this, divider = byId("divider");
    const split = (by) => {
      divider.value = Number(divider.value) + by;
      this.update();
    };
    const actions = {
      "+": () => view.zoomBy(1), "=": () => view.zoomBy(1), "-": () => view.zoomBy(-1), "_": () => view.zoomBy(-1),
      0: () => view.fit(), f: () => view.fit(), 1: () => view.show(view.x, view.y, 0),
      "[": () => split(-2), "]": () => split(2),
      o: () => byId("file").click(), r: () => this.corners.begin(), s: () => this._toggleSaving(),
      "?": () => byId("keys").showModal(),
      Escape: () => {
        this.corners.end();
        byId("saving").hidden = true;
      },
    };
    const arrow = ARROWS[key];
    if (arrow && !target.closest("input")) actions[key] = () => view.moveBy(...arrow.map((n) => n * STEP * view.ratio));
    const action = actions[key] ?? actions[key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  _toggleSaving() {
    this.corners.end();
    byId("saving").hidden = !byId("saving").hidden;
  }

  /** Save the visible part of the image as the chosen side shows it. For both sides, add the divider and names. */
  _save(chosen) {
    const { view, image } = this;
    const [left, top] = view.toScreen([0, 0]).map((n) => Math.max(0, n));
    const [right, bottom] = view.toScreen([image.width, image.height]);
    const width = Math.min(view.width, Math.ceil(right - 1e-6)) - left;
    const height = Math.min(view.height, Math.ceil(bottom - 1e-6)) - top;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { alpha: false });
    const whole = Object.assign(document.createElement("canvas"), { width: view.width, height: view.height });
    const both = chosen.length > 1;
    const shares = NAMES.map((_, side) => (chosen.includes(side) ? [0, view.width] : [0, 0]));
    this._drawSides(whole.getContext("2d", { alpha: false }), both ? this.shares() : shares);
    context.drawImage(whole, -left, -top);
    if (both) this._drawNames(context, this.shares()[0][1] - left);
    const labels = chosen.map((side) => this._label(this.sides[side]).replace(" ", "-")).join("-");
    canvas.toBlob((blob) => download(blob, `${this.stem}-x${written(view.scale, 3)}-${labels}.png`));
  }

  _drawNames(context, split) {
    const { width, height } = context.canvas, unit = this.view.ratio;
    context.fillStyle = "#fff";
    context.fillRect(split - unit, 0, 2 * unit, height);
    context.font = `${16 * unit}px sans-serif`;
    context.textBaseline = "bottom";
    context.lineWidth = 4 * unit;
    this.sides.forEach((side, k) => {
      context.textAlign = k ? "right" : "left";
      const place = [k ? width - 8 * unit : 8 * unit, height - 8 * unit];
      context.strokeText(this._label(side), ...place);
      context.fillText(this._label(side), ...place);
    });
  }

  /** Send a file to the server, and open its page. */
  async _open(file) {
    this._error = "opening…";
    this.draw();
    try {
      const response = await fetch(`open/${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      if (response.ok) return location.replace(await response.text());
      this._error = response.status === 413 ? `${file.name}: is empty or larger than 1 GB` : await errorOf(response);
    } catch {
      this._error = GONE;
    }
    this.draw();
  }

  /** Write the view into the page's address, so that reloading the page restores the view. */
  _write() {
    const { view, image, sides } = this;
    const values = { x: view.x.toFixed(2), y: view.y.toFixed(2), zoom: written(view.scale, 6) };
    values.split = Number(byId("divider").value).toFixed(1);
    sides.forEach((side, k) => {
      values[NAMES[k]] = image.methods[side.method];
      values[`${NAMES[k]}-strength`] = side.strength;
    });
    history.replaceState(null, "", `#${new URLSearchParams(values)}`);
  }

  /** Restore the view from the address, and return whether it contains one. Invalid values are ignored. */
  _restore() {
    const { view, image, sides } = this;
    const values = new URLSearchParams(location.hash.slice(1));
    const number = (key, low, high) => {
      const value = parseFloat(values.get(key));
      return value >= low && value <= high ? value : null;
    };
    const x = number("x", 0, image.width), y = number("y", 0, image.height), zoom = number("zoom", 1e-6, 1e6);
    if (x === null || y === null || zoom === null) return false;
    byId("divider").value = number("split", 0, 100) ?? 50;
    sides.forEach((side, k) => {
      const method = image.methods.indexOf(values.get(NAMES[k]));
      if (method >= 0) side.method = method;
      side.strength = Math.round(number(`${NAMES[k]}-strength`, 0, 100) ?? 100);
    });
    view.show(x, y, image.steps * Math.log2(zoom));
    return true;
  }
}

let viewer = null;
fetch("image.json").then((response) => response.json()).then((image) => { viewer = new Viewer(image); });
