"use strict";

// Milliseconds to pause after a failure, and to wait for a tile. They double with each attempt.
const PAUSE = { first: 500, longest: 10000 };
const PATIENCE = { first: 15000, longest: 240000 };
// Maximum number of tiles that the page caches (256 kB each), and of tiles per request.
const MAX_TILES = 600, MAX_BATCH = 500;
// The reason for aborting a request whose next tile takes too long.
const LATE = "late";
const GONE = "the viewer does not answer; is it still running?";
const REPLACED = "another image has been opened in this viewer";

/** The value of PAUSE or PATIENCE for an attempt. Attempts are counted from 0. */
const growing = ({ first, longest }, attempt) => Math.min(first * 2 ** attempt, longest);
const pause = (time) => new Promise((done) => setTimeout(done, time));

/** After a request has failed, finds out with a cheap request whether the server is still running. */
class Connection {
  constructor(changed) {
    this.problem = "";
    this._changed = changed;
    this._check = null;
  }

  failed() {
    this._check ??= this._find().finally(() => { this._check = null; });
  }

  works() {
    this._set("");
  }

  async _find() {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        const { ok } = await fetch("image.json", { cache: "no-store" });
        return this._set(ok ? "" : REPLACED);
      } catch {
        await pause(500);
      }
    }
    return this._set(GONE);
  }

  _set(problem) {
    if (problem === this.problem) return;
    this.problem = problem;
    this._changed();
  }
}

/** Split a response into pieces of `length` bytes as they arrive. An incomplete last piece is dropped. */
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

/** Decoded tiles as bitmaps, by layer, row and column. The oldest are dropped first. */
class TileCache extends Map {
  add(key, pixels, edge) {
    const alpha = pixels.at(-1) === 0; // the tile reaches beyond the image
    const canvas = new OffscreenCanvas(edge, edge);
    canvas.getContext("2d", { alpha }).putImageData(new ImageData(pixels, edge), 0, 0);
    this.set(key, canvas.transferToImageBitmap());
    for (const [oldest, bitmap] of this) {
      if (this.size <= MAX_TILES) break;
      this.delete(oldest);
      bitmap.close();
    }
  }
}

/**
 * One side of the screen: requests its tiles until they arrive, and draws them.
 *
 * Tiles are requested in batches, one batch at a time. Visible tiles come first. When no side is waiting
 * for visible tiles, tiles that the other side covers are requested, too. A batch is aborted when one of its tiles has
 * left the screen. Its other missing tiles are then requested again.
 */
class Side {
  /**
   * `share`: function that returns the left and right edge of the visible part. `sides`: all sides, including this one.
   * `changed`: function that is called when a tile arrives, and when waiting for tiles begins or ends.
   */
  constructor({ image, view, overview, cache, connection, method, share, sides, changed }) {
    Object.assign(this, { image, view, overview, cache, connection, method, share, sides, changed });
    this.strength = 100;
    this.loading = false;
    this._batch = null;
    this._attempts = new Map(); // number of attempts for tiles that failed or were late
    this._paused = new Set();
    this._complete = null; // the last layer whose tiles have all arrived; it is drawn below the current one
  }

  /** Method, strength and level of the tiles. Up to level 0 all methods show the image itself and share its tiles. */
  get layer() {
    const { level } = this.view;
    const method = level > 0 ? this.method : this.image.methods.length - 1;
    const strength = level > 0 && this.image.mixable[this.method] ? this.strength : 100;
    return { level, path: `${method}/${strength}/${level}` };
  }

  /** Request the missing tiles. Call this after each change of the view or of the method. */
  update() {
    const { layer } = this;
    const places = this._places(layer.level);
    const keys = new Set(places.map(({ place }) => `${layer.path}/${place}`));
    const missing = places.filter(({ place }) => !this.cache.has(`${layer.path}/${place}`));
    if (!missing.length) this._complete = layer;
    this.loading = missing.length > 0;
    this.changed();
    if (this._batch?.keys.some((key) => !keys.has(key))) return this._batch.controller.abort(); // `_end` calls `update`
    this._start(layer, missing);
  }

  _start(layer, missing) {
    const waiting = missing.filter(({ place }) => !this._paused.has(`${layer.path}/${place}`));
    const visible = waiting.filter(({ visible }) => visible);
    const hidden = !visible.length;
    if (!waiting.length || (this._batch && (hidden || !this._batch.hidden))) return;
    if (hidden && this.sides.some(({ _batch }) => _batch)) return;
    const aborted = this.sides.filter(({ _batch }) => _batch?.hidden);
    for (const { _batch } of aborted) _batch.controller.abort();
    if (aborted.includes(this)) return;
    const chosen = (hidden ? waiting : visible).slice(0, MAX_BATCH).map(({ place }) => place);
    const keys = chosen.map((place) => `${layer.path}/${place}`);
    this._batch = { keys, hidden, controller: new AbortController() };
    this._fetch(this._batch, `tiles/${layer.path}/${chosen.join(";")}`);
  }

  async _fetch(batch, path) {
    const { keys, controller } = batch;
    const patience = growing(PATIENCE, this._attempts.get(keys[0]) ?? 0);
    const edge = this.image.tile;
    let timer = null;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => controller.abort(LATE), patience);
    };
    try {
      wait();
      const response = await fetch(path, { signal: controller.signal });
      if (!response.ok) throw new Error(response.statusText);
      for await (const pixels of pieces(response.body, 4 * edge ** 2)) {
        wait();
        this.connection.works();
        const key = keys.shift();
        this._attempts.delete(key);
        this.cache.add(key, pixels, edge);
        this.changed();
      }
    } catch {
      // The request was aborted, was late or failed. `_end` distinguishes these cases.
    } finally {
      clearTimeout(timer);
      this._end(batch);
    }
  }

  /**
   * Continue with the next batch. Tiles arrive in order, so a tile that was late or failed is the first of the
   * remaining keys. Request that tile again after a pause.
   */
  _end({ keys: [failed], controller }) {
    const { aborted, reason } = controller.signal, late = reason === LATE;
    if (failed && (late || !aborted)) {
      if (!late) this.connection.failed();
      const attempt = this._attempts.get(failed) ?? 0;
      this._attempts.set(failed, attempt + 1);
      this._paused.add(failed);
      setTimeout(() => {
        this._paused.delete(failed);
        this.update();
      }, growing(PAUSE, attempt));
    }
    this._batch = null;
    for (const side of this.sides) side.update();
  }

  /** The tiles of a level on the screen, from the middle outwards. `visible`: not covered by the other side. */
  _places(level) {
    const { view, image } = this;
    const [from, to] = this.share();
    const stretch = 2 ** ((view.zoom - level) / image.steps);
    const edge = image.tile * stretch;
    const [left, top] = view.origin;
    const last = (size) => Math.ceil((size * 2 ** (level / image.steps) - 1e-6) / image.tile) - 1;
    const range = (start, length, size) => [
      Math.max(0, Math.floor(-start / edge)), Math.min(last(size), Math.ceil((length - start) / edge) - 1),
    ];
    const [firstRow, lastRow] = range(top, view.height, image.height);
    const [firstCol, lastCol] = range(left, view.width, image.width);
    const places = [];
    for (let row = firstRow; row <= lastRow; row++) {
      for (let col = firstCol; col <= lastCol; col++) {
        // Positions are rounded, so that stretched tiles leave no seams.
        const box = [left + col * edge, top + row * edge, left + (col + 1) * edge, top + (row + 1) * edge].map(Math.round);
        const distance = Math.hypot(box[0] + box[2] - view.width, box[1] + box[3] - view.height);
        places.push({ place: `${row},${col}`, box, distance, visible: box[0] < to && box[2] > from });
      }
    }
    return places.sort((a, b) => a.distance - b.distance);
  }

  /** The tiles of a layer that have arrived and are on the screen. */
  arrived({ path, level } = this.layer) {
    return this._places(level).map((tile) => ({ ...tile, level, bitmap: this.cache.get(`${path}/${tile.place}`) }))
      .filter(({ bitmap }) => bitmap);
  }

  draw(context) {
    if (this.loading) {
      this._drawOverview(context);
      if (this._complete) this._drawTiles(context, this._complete);
    }
    this._drawTiles(context, this.layer);
  }

  _drawTiles(context, layer) {
    for (const { box: [left, top, right, bottom], bitmap } of this.arrived(layer)) {
      context.drawImage(bitmap, left, top, right - left, bottom - top);
    }
  }

  /** Draw the visible part of the overview, stretched by the browser. */
  _drawOverview(context) {
    const { view, image, overview } = this;
    if (!overview.complete || !overview.naturalWidth) return;
    const [left, top] = view.toImage([0, 0]).map((n) => Math.max(0, n));
    const [x, y] = view.toImage([view.width, view.height]);
    const right = Math.min(x, image.width), bottom = Math.min(y, image.height);
    if (right <= left || bottom <= top) return;
    const reduced = overview.naturalWidth / image.width, reducedY = overview.naturalHeight / image.height;
    const [to, down] = view.toScreen([left, top]);
    context.drawImage(
      overview, left * reduced, top * reducedY, (right - left) * reduced, (bottom - top) * reducedY,
      to, down, (right - left) * view.scale, (bottom - top) * view.scale,
    );
  }
}
