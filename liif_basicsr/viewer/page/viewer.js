"use strict";

const byId = (id) => document.getElementById(id);

// Device pixels in a CSS pixel, rounded up to a power of two: tiles of a whole number of CSS pixels leave no seams.
const density = 2 ** Math.max(0, Math.ceil(Math.log2(window.devicePixelRatio) - 0.1));

/** A map whose zoom levels are the server's: one more enlarges by 2 ** (1 / steps), so each is decoded for itself. */
function makeMap(image) {
  const crs = L.Util.extend({}, L.CRS.Simple, {
    scale: (zoom) => 2 ** (zoom / image.steps),
    zoom: (scale) => image.steps * Math.log2(scale),
  });
  const bounds = L.latLngBounds([-image.height, 0], [0, image.width]);
  const offset = image.steps * Math.log2(density);
  const levels = { minZoom: image.min_level, maxZoom: image.max_level - offset };
  const map = L.map("map", {
    ...levels, crs, zoomDelta: 2, zoomAnimationThreshold: 4 * image.steps, fadeAnimation: false,
    maxBounds: bounds.pad(0.5), attributionControl: false,
  });
  const layers = ["liif", "bicubic"].map((method) => {
    map.createPane(method);
    return L.tileLayer(`tile/${method}/{z}/{y}/{x}.png`, {
      ...levels, bounds, pane: method, tileSize: image.tile / density, zoomOffset: offset, updateWhenZooming: false,
    }).addTo(map);
  });
  if (!Number.isInteger(window.devicePixelRatio)) overlapTiles(map, layers);
  map.fitBounds(bounds);
  return { map, layers, factor: () => density * crs.scale(map.getZoom()) };
}

/** Where CSS pixels are no whole number of the screen's, tiles may begin between these: overlapping hides the seams. */
function overlapTiles(map, layers) {
  map.getContainer().classList.add("overlap");
  for (const layer of layers) {
    layer.on("tileloadstart", ({ tile }) => {
      tile.style.width = tile.style.height = `${layer.getTileSize().x + 1}px`;
    });
  }
}

/** The parts of the screen: each method's pane, and from where to where it is seen, in CSS pixels. */
function shares(map) {
  const { x: width, y: height } = map.getSize();
  const split = (width * byId("divider").value) / 100;
  return [
    { pane: map.getPane("liif"), left: 0, right: split, height },
    { pane: map.getPane("bicubic"), left: split, right: width, height },
  ];
}

function showShares(map) {
  document.documentElement.style.setProperty("--split", `${byId("divider").value}%`);
  const { x, y } = map.containerPointToLayerPoint([0, 0]);
  for (const { pane, left, right, height } of shares(map)) {
    const corners = [[left, 0], [right, 0], [right, height], [left, height]];
    pane.style.clipPath = `polygon(${corners.map(([cx, cy]) => `${x + cx}px ${y + cy}px`).join(",")})`;
  }
}

function showZoom(image, factor) {
  byId("zoom").value = `×${Number(factor.toPrecision(3))}`;
  byId("size").value = [image.width, image.height].map((n) => Math.ceil(n * factor - 1e-6)).join(" × ");
  byId("left").textContent = factor > 1 ? "LIIF" : "image";
  byId("right").textContent = factor > 1 ? "bicubic" : "image";
}

/** Draw the tiles where they are on the screen, at the resolution that they have. */
function drawScreen(map) {
  const box = map.getContainer().getBoundingClientRect();
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(box.width * density);
  canvas.height = Math.round(box.height * density);
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(map.getContainer()).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(density, density);
  for (const { pane, left, right, height } of shares(map)) {
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    for (const tile of pane.querySelectorAll("img.leaflet-tile-loaded")) {
      const place = tile.getBoundingClientRect();
      const size = tile.naturalWidth / density;
      context.drawImage(tile, place.left - box.left, place.top - box.top, size, size);
    }
    context.restore();
  }
  return canvas;
}

function saveScreen(map, name) {
  drawScreen(map).toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

async function main() {
  const image = await (await fetch("image.json")).json();
  byId("name").textContent = document.title = image.name;
  const { map, layers, factor } = makeMap(image);

  const show = () => showShares(map);
  map.on("move zoom viewreset resize", show);
  byId("divider").addEventListener("input", show);
  map.on("zoomend", () => showZoom(image, factor()));
  show();
  showZoom(image, factor());

  // Saving waits for all tiles, and for Leaflet to have removed those of the level before.
  let failed = false;
  const showBusy = () => {
    const busy = layers.some((layer) => layer.isLoading());
    byId("save").disabled = busy || failed;
    byId("status").value = failed ? "no answer; is the viewer still running?" : busy ? "decoding…" : "";
  };
  for (const layer of layers) {
    layer.on("loading", () => { failed = false; showBusy(); });
    layer.on("load", () => requestAnimationFrame(() => requestAnimationFrame(showBusy)));
    layer.on("tileerror", () => { failed = true; showBusy(); });
  }
  showBusy();
  const stem = image.name.replace(/\.[^.]*$/, "");
  byId("save").addEventListener("click", () => saveScreen(map, `${stem}-x${Number(factor().toPrecision(3))}.png`));
}

main();
