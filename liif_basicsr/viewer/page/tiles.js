"use strict";

// In milliseconds, both doubled with each attempt: the pause after a failure, and how long a tile may take.
const PAUSE = { first: 500, longest: 10000 };
const PATIENCE = { first: 15000, longest: 240000 };
// Why a batch is aborted that is not given up.
const LATE = "late";

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

/** The bytes of an answer, in pieces of equal length as they arrive; what is left at the end is dropped. */
async function* pieces(body, length) {
  const reader = body.getReader();
  let piece = new Uint8ClampedArray(length), filled = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (let at = 0; at < value.length;) {
      const part = value.subarray(at, at + length - filled);
      piece.set(part, filled);
      at += part.length;
      filled += part.length;
      if (filled < length) continue;
      yield piece;
      piece = new Uint8ClampedArray(length);
      filled = 0;
    }
  }
}

/**
 * A layer of tiles that arrive in batches, one at a time, the visible ones first, and are asked for until they do. A
 * tile that leaves the screen is given up; the tiles of the last zoom level stay until those of the new one are complete.
 */
const TileLayer = L.GridLayer.extend({
  /**
   * `methods`: the numbers of the method above level 0 and of that below, where all give the image itself;
   * `options.pixels`: along an edge of a tile.
   */
  initialize(methods, connection, isVisible, options) {
    L.GridLayer.prototype.initialize.call(this, { keepBuffer: 0, updateWhenZooming: false, ...options });
    this._methods = methods;
    this._connection = connection;
    this._isVisible = isVisible;
    this._requests = new Map(); // by tile; those in the middle first, as Leaflet adds them
    this._batch = null;
    this._drawings = {}; // canvases that all tiles are drawn on, by whether they are transparent somewhere
    this.on("tileunload", ({ tile }) => this._giveUp(tile));
  },

  /** Show another method above level 0. */
  setMethod(method) {
    this._methods[0] = method;
    this.redraw();
  },

  createTile({ x, y, z }, done) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = this.options.pixels;
    const level = z + this.options.zoomOffset;
    tile.dataset.level = `${this._methods[level > 0 ? 0 : 1]}/${level}`;
    tile.dataset.place = `${y},${x}`;
    this._requests.set(tile, { tile, done, state: "waiting", attempt: 0 });
    queueMicrotask(() => this._start()); // when all tiles are in their places
    return tile;
  },

  /** Ask for the next batch, tiles of one level: the visible ones, then, when no layer waits for such, hidden ones. */
  _start() {
    if (this._batch && !this._batch.hidden) return;
    const waiting = [...this._requests.values()].filter(({ state }) => state === "waiting");
    const visible = waiting.filter(({ tile }) => this._isVisible(tile));
    const hidden = !visible.length;
    if (!waiting.length || (hidden && this._layers().some(({ _batch }) => _batch))) return;
    for (const { _batch } of this._layers()) {
      if (_batch?.hidden) _batch.controller.abort();
    }
    const next = hidden ? waiting : visible;
    const { level } = next[0].tile.dataset;
    const requests = next.filter(({ tile }) => tile.dataset.level === level);
    this._batch = { requests, hidden, controller: new AbortController() };
    this._fetch(this._batch);
  },

  /** All layers of the map that are like this one. */
  _layers() {
    const layers = [];
    this._map?.eachLayer((layer) => layer instanceof TileLayer && layers.push(layer));
    return layers;
  },

  async _fetch(batch) {
    const { requests, controller } = batch;
    const patience = growing(PATIENCE, requests[0].attempt);
    let timer = null;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(LATE), patience);
    };
    for (const request of requests) request.state = "running";
    try {
      wait();
      const places = requests.map(({ tile }) => tile.dataset.place).join(";");
      const response = await fetch(`tiles/${requests[0].tile.dataset.level}/${places}`, { signal: controller.signal });
      if (!response.ok) throw new Error(response.statusText);
      const rest = requests.values();
      for await (const piece of pieces(response.body, 4 * this.options.pixels ** 2)) {
        wait();
        this._connection.works();
        this._show(rest.next().value, piece);
      }
    } catch {
      // Given up, late or failed: see below.
    } finally {
      clearTimeout(timer);
      this._end(batch);
    }
  },

  /** What a `2d` context has drawn, Chromium hands on anew in each frame; a bitmap, once. */
  _show({ tile, done }, piece) {
    if (!this._requests.delete(tile)) return;
    const alpha = piece.at(-1) === 0; // it reaches beyond the image; what is opaque hides what lies below it
    const drawing = (this._drawings[alpha] ??= new OffscreenCanvas(tile.width, tile.height));
    drawing.getContext("2d", { alpha }).putImageData(new ImageData(piece, tile.width), 0, 0);
    tile.getContext("bitmaprenderer", { alpha }).transferFromImageBitmap(drawing.transferToImageBitmap());
    done(null, tile);
  },

  /** What has not arrived is asked for again at once; the tile that was late or failed, after a pause. */
  _end(batch) {
    const missing = batch.requests.filter(({ tile }) => this._requests.has(tile));
    const { aborted, reason } = batch.controller.signal, late = reason === LATE;
    for (const request of missing) request.state = "waiting";
    if (missing.length && (late || !aborted)) {
      if (!late) this._connection.failed();
      const [failed] = missing; // they arrive in order
      failed.state = "paused";
      setTimeout(() => { failed.state = "waiting"; this._start(); }, growing(PAUSE, failed.attempt++));
    }
    if (this._batch === batch) this._batch = null;
    for (const layer of this._layers()) layer._start();
  },

  /** The rest of its batch is asked for anew, lest the server makes a tile that nobody sees. */
  _giveUp(tile) {
    const request = this._requests.get(tile);
    this._requests.delete(tile);
    if (this._batch?.requests.includes(request)) this._batch.controller.abort();
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
