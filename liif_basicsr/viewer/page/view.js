"use strict";

// Wheel movement per zoom level, in pixels. One notch of a mouse wheel moves by 100 pixels or 3 lines.
const NOTCH = 100;
const WHEEL_UNITS = [1, NOTCH / 3, 4 * NOTCH]; // by WheelEvent.deltaMode: pixels, lines, pages
// A press that moves by less than this, in CSS pixels, is a click.
const CLICK = 4;

/**
 * The visible part of the image, and its control by mouse, wheel and touch.
 *
 * Lengths on the screen are in device pixels, so that a pixel of a tile is a pixel of the screen. (x, y) is the point
 * of the image at the center of the screen, in pixels from the image's upper left corner. `zoom` is in levels of the
 * server. It is an integer except during a pinch.
 */
class View {
  /** `changed`: function to call after each change. `clicked`: function to call with the clicked image point. */
  constructor(canvas, image, changed, clicked) {
    this.canvas = canvas;
    this.image = image;
    this._changed = changed;
    this._clicked = clicked;
    this._pointers = new Map();
    this._travel = 0;
    this._wheel = 0;
    this._measure();
    this.x = image.width / 2;
    this.y = image.height / 2;
    this.zoom = this.fittingLevel();
    this._listen();
  }

  /** Device pixels per CSS pixel. */
  get ratio() {
    return devicePixelRatio;
  }

  get scale() {
    return 2 ** (this.zoom / this.image.steps);
  }

  /** The level of the tiles to show. */
  get level() {
    return this._clampLevel(Math.round(this.zoom));
  }

  /** Screen position of the image's upper left corner. It is rounded to integers, so that tiles are not resampled. */
  get origin() {
    return [Math.round(this.width / 2 - this.x * this.scale), Math.round(this.height / 2 - this.y * this.scale)];
  }

  /** The highest level at which the whole image is visible. */
  fittingLevel() {
    const scale = Math.min(this.width / this.image.width, this.height / this.image.height);
    return this._clampLevel(Math.floor(this.image.steps * Math.log2(scale) + 1e-6));
  }

  toImage([left, top]) {
    const [x, y] = this.origin;
    return [(left - x) / this.scale, (top - y) / this.scale];
  }

  toScreen([x, y]) {
    const [left, top] = this.origin;
    return [left + x * this.scale, top + y * this.scale];
  }

  moveBy(right, down) {
    this._center(this.x + right / this.scale, this.y + down / this.scale);
  }

  /** Zoom by a number of levels about a point on the screen, by default the center. */
  zoomBy(levels, place = [this.width / 2, this.height / 2]) {
    this._zoomTo(Math.round(this.zoom) + levels, place);
  }

  fit() {
    this.show(this.image.width / 2, this.image.height / 2, this.fittingLevel());
  }

  show(x, y, level) {
    this.zoom = this._clampLevel(Math.round(level));
    this._center(x, y);
  }

  _center(x, y) {
    this.x = Math.min(Math.max(x, 0), this.image.width);
    this.y = Math.min(Math.max(y, 0), this.image.height);
    this._changed();
  }

  _clampLevel(level) {
    return Math.min(Math.max(level, this.image.min_level), this.image.max_level);
  }

  _zoomTo(zoom, [left, top]) {
    const right = left - this.width / 2, down = top - this.height / 2;
    const x = this.x + right / this.scale, y = this.y + down / this.scale;
    this.zoom = this._clampLevel(zoom);
    this._center(x - right / this.scale, y - down / this.scale);
  }

  _listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this._press(event));
    canvas.addEventListener("pointermove", (event) => this._drag(event));
    canvas.addEventListener("pointerup", (event) => this._release(event));
    canvas.addEventListener("pointercancel", (event) => this._release(event));
    canvas.addEventListener("wheel", (event) => this._turn(event), { passive: false });
    window.addEventListener("resize", () => {
      this._measure();
      this._changed();
    });
  }

  /** Measure the canvas. It fills the window, so its edges lie on whole device pixels. */
  _measure() {
    const { width, height } = this.canvas.getBoundingClientRect();
    this.width = Math.round(width * devicePixelRatio);
    this.height = Math.round(height * devicePixelRatio);
  }

  _placeOf({ clientX, clientY }) {
    return [clientX * this.ratio, clientY * this.ratio];
  }

  /** The center of all pressed pointers, and the distance of a pointer from it. */
  _gesture() {
    const places = [...this._pointers.values()];
    const mean = (axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length;
    const center = [mean(0), mean(1)];
    return { center, spread: Math.hypot(places[0][0] - center[0], places[0][1] - center[1]) };
  }

  _press(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    if (!this._pointers.size) this._travel = 0;
    this._pointers.set(event.pointerId, this._placeOf(event));
  }

  _drag(event) {
    if (!this._pointers.has(event.pointerId)) return;
    const before = this._gesture();
    this._pointers.set(event.pointerId, this._placeOf(event));
    const after = this._gesture();
    const [right, down] = [0, 1].map((axis) => before.center[axis] - after.center[axis]);
    this._travel += Math.hypot(right, down) + Math.abs(after.spread - before.spread);
    this.moveBy(right, down);
    if (before.spread && after.spread) {
      this._zoomTo(this.zoom + this.image.steps * Math.log2(after.spread / before.spread), after.center);
    }
  }

  _release(event) {
    if (!this._pointers.has(event.pointerId)) return;
    const { center } = this._gesture();
    this._pointers.delete(event.pointerId);
    if (this._pointers.size) return;
    if (this.zoom !== Math.round(this.zoom)) this._zoomTo(Math.round(this.zoom), center);
    if (event.type === "pointerup" && this._travel < CLICK * this.ratio) this._clicked(this.toImage(center));
  }

  _turn(event) {
    event.preventDefault();
    const pinch = event.ctrlKey ? 10 : 1; // a pinch on a touchpad, which has small deltas
    const turned = (-event.deltaY * WHEEL_UNITS[event.deltaMode] * pinch) / NOTCH;
    this._wheel = turned * this._wheel < 0 ? turned : this._wheel + turned;
    const levels = Math.trunc(this._wheel);
    this._wheel -= levels;
    if (levels) this.zoomBy(levels, this._placeOf(event));
  }
}
