"use strict";

// Longest edge, in CSS pixels, at which the browser draws the image once.
const DRAWN = 2048;

/** The image itself under the tiles, scaled by a transform alone: drawn anew at each zoom level it would hold up tiles. */
const Overview = L.ImageOverlay.extend({
  initialize(url, bounds, size, options) {
    L.ImageOverlay.prototype.initialize.call(this, url, bounds, options);
    this._size = size.multiplyBy(Math.min(1, DRAWN / Math.max(size.x, size.y)));
  },

  // What follows overrides Leaflet 1.9.

  _initImage() {
    L.ImageOverlay.prototype._initImage.call(this);
    Object.assign(this._image.style, { width: `${this._size.x}px`, height: `${this._size.y}px` });
  },

  _animateZoom({ zoom, center }) {
    this._place(this._map._latLngBoundsToNewLayerBounds(this._bounds, zoom, center));
  },

  _reset() {
    const corners = [this._bounds.getNorthWest(), this._bounds.getSouthEast()];
    this._place(L.bounds(corners.map((corner) => this._map.latLngToLayerPoint(corner))));
  },

  _place(box) {
    const longest = ({ x, y }) => Math.max(x, y); // which is rounded the least
    L.DomUtil.setTransform(this._image, box.min, longest(box.getSize()) / longest(this._size));
  },
});
