"use strict";

// Requests of a layer that the server holds at a time; a browser sends six. The other tiles wait on the page.
const RUNNING = 3;
// In milliseconds, both doubled with each attempt: the pause after a failure, and how long a tile may take.
const PAUSE = { first: 500, longest: 10000 };
const PATIENCE = { first: 15000, longest: 240000 };

/** The value for an attempt, counted from 0. */
const growing = ({ first, longest }, attempt) => Math.min(first * 2 ** attempt, longest);
const pause = (time) => new Promise((done) => setTimeout(done, time));

/** Whether the server is gone, which is found out after a failed request by another one that needs no work. */
class Connection {
  constructor(onChange) {
    this.gone = false;
    this._onChange = onChange;
    this._check = null;
  }

  failed() {
    this._check ??= this._find().finally(() => { this._check = null; });
  }

  works() {
    this._set(false);
  }

  async _find() {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        await fetch("image.json", { cache: "no-store" });
        return this._set(false);
      } catch {
        await pause(500);
      }
    }
    return this._set(true);
  }

  _set(gone) {
    if (gone === this.gone) return;
    this.gone = gone;
    this._onChange();
  }
}

/**
 * A layer of tiles that are fetched a few at a time, the visible ones first, and again until they arrive. A tile that
 * leaves the screen is given up; the tiles of the last zoom level stay until those of the new one are complete.
 */
const TileLayer = L.GridLayer.extend({
  /** `methods`: the numbers of the method above level 0 and of that below, where all give the image itself. */
  initialize(methods, connection, isVisible, options) {
    L.GridLayer.prototype.initialize.call(this, { keepBuffer: 0, updateWhenZooming: false, ...options });
    this._methods = methods;
    this._connection = connection;
    this._isVisible = isVisible;
    this._requests = new Map(); // by tile; those in the middle first, as Leaflet adds them
    this.on("tileunload", ({ tile }) => this._giveUp(tile));
  },

  /** Show another method above level 0. */
  setMethod(method) {
    this._methods[0] = method;
    this.redraw();
  },

  createTile({ x, y, z }, done) {
    const tile = document.createElement("img");
    tile.alt = "";
    const level = z + this.options.zoomOffset;
    tile.dataset.path = `tile/${this._methods[level > 0 ? 0 : 1]}/${level}/${y}/${x}.png`;
    this._requests.set(tile, { tile, done, state: "waiting", attempt: 0, controller: null });
    queueMicrotask(() => this._start()); // when all tiles are in their places
    return tile;
  },

  _start() {
    const requests = [...this._requests.values()];
    let free = RUNNING - requests.filter(({ state }) => state === "running").length;
    const waiting = requests.filter(({ state }) => state === "waiting");
    const visible = waiting.filter(({ tile }) => this._isVisible(tile));
    for (const request of new Set([...visible, ...waiting])) {
      if (free-- <= 0) break;
      this._fetch(request);
    }
  },

  async _fetch(request) {
    const { tile, done, attempt } = request;
    const controller = new AbortController();
    let late = false;
    const timer = setTimeout(() => { late = true; controller.abort(); }, growing(PATIENCE, attempt));
    Object.assign(request, { state: "running", controller });
    try {
      const response = await fetch(tile.dataset.path, { signal: controller.signal });
      if (!response.ok) throw new Error(response.statusText);
      const blob = await response.blob();
      request.state = "shown";
      this._start();
      await show(tile, blob);
      this._requests.delete(tile);
      this._connection.works();
      done(null, tile);
    } catch {
      if (!this._requests.has(tile)) return;
      if (!late) this._connection.failed();
      Object.assign(request, { state: "paused", attempt: attempt + 1 });
      setTimeout(() => { request.state = "waiting"; this._start(); }, growing(PAUSE, attempt));
    } finally {
      clearTimeout(timer);
      this._start();
    }
  },

  _giveUp(tile) {
    const request = this._requests.get(tile);
    this._requests.delete(tile);
    request?.controller?.abort();
  },

  // What follows overrides Leaflet 1.9.

  /** During a zoom animation its final level counts, so that the tiles of that are fetched from the beginning. */
  _clampZoom(zoom) {
    const goal = this._map._animatingZoom ? this._map._animateToZoom : zoom;
    return L.GridLayer.prototype._clampZoom.call(this, goal);
  },

  /** Give up the tiles that are no longer on the screen. */
  _update(center) {
    L.GridLayer.prototype._update.call(this, center);
    for (const [key, tile] of Object.entries(this._tiles)) {
      if (!tile.current && !tile.loaded) this._removeTile(key);
    }
    if (this._loading && this._noTilesToLoad()) {
      this._loading = false;
      this.fire("load");
      L.Util.requestAnimFrame(this._pruneTiles, this);
    }
  },

  /** Keep the tiles of other levels until this one is complete. */
  _pruneTiles() {
    if (!this._loading) L.GridLayer.prototype._pruneTiles.call(this);
  },
});

/** Show an image in a tile. */
function show(tile, blob) {
  const url = URL.createObjectURL(blob);
  return new Promise((resolve, reject) => {
    tile.onload = resolve;
    tile.onerror = reject;
    tile.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}
