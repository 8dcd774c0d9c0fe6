"use strict";

const GONE = "no answer; is the viewer still running?";
const SIDES = ["left", "right"]; // panes, and labels

const byId = (id) => document.getElementById(id);

// Device pixels per CSS pixel, rounded up to a power of two: tiles of a whole number of CSS pixels leave no seams.
const density = 2 ** Math.max(0, Math.ceil(Math.log2(window.devicePixelRatio) - 0.1));

/**
 * A map with the zoom levels of the server, each 2 ** (1 / steps) times as large as the one before: the image itself,
 * stretched by the browser, and above it the layers of tiles that are compared, left and right.
 */
function makeMap(image, connection) {
  const crs = L.Util.extend({}, L.CRS.Simple, {
    scale: (zoom) => 2 ** (zoom / image.steps),
    zoom: (scale) => image.steps * Math.log2(scale),
  });
  const bounds = L.latLngBounds([-image.height, 0], [0, image.width]);
  const offset = image.steps * Math.log2(density);
  const levels = { minZoom: image.min_level, maxZoom: image.max_level - offset };
  const map = L.map("map", {
    ...levels, crs, zoomDelta: 2, zoomAnimationThreshold: 4 * image.steps, fadeAnimation: false,
    wheelDebounceTime: 10, maxBounds: bounds.pad(0.5), attributionControl: false,
  });
  map.createPane("image").style.zIndex = 100;
  map.createPane("outline").style.zIndex = 500; // above the tiles, below the corners
  new Overview("image.jpg", bounds, L.point(image.width, image.height), { pane: "image" }).addTo(map);
  const layers = SIDES.map((pane, side) => {
    map.createPane(pane);
    const isVisible = (tile) => overlaps(tile.getBoundingClientRect(), shares(map)[side]);
    return new TileLayer([image.sides[side], image.methods.length - 1], connection, isVisible, {
      ...levels, bounds, pane, pixels: image.tile, tileSize: image.tile / density, zoomOffset: offset,
    }).addTo(map);
  });
  if (!Number.isInteger(window.devicePixelRatio)) overlapTiles(map, layers);
  map.fitBounds(bounds);
  return { map, layers, factor: () => density * crs.scale(map.getZoom()) };
}

/** If CSS pixels are not whole numbers of device pixels, tiles may begin between these: let them overlap by a pixel. */
function overlapTiles(map, layers) {
  for (const layer of layers) {
    layer.on("tileloadstart", ({ tile }) => {
      tile.style.width = tile.style.height = `${layer.getTileSize().x + 1}px`;
    });
  }
}

/** The parts of the screen in which the two panes are visible, in CSS pixels. */
function shares(map) {
  const { x: width, y: height } = map.getSize();
  const split = (width * byId("divider").value) / 100;
  return [
    { pane: map.getPane("left"), left: 0, right: split, height },
    { pane: map.getPane("right"), left: split, right: width, height },
  ];
}

/** Whether a rectangle overlaps a share of the screen; the map fills the window. */
function overlaps({ left, right, top, bottom }, share) {
  return left < share.right && right > share.left && top < share.height && bottom > 0;
}

/** Show each pane in its share alone. By `clip`, which is a rectangle: a `clip-path` is a mask, drawn in each frame. */
function showShares(map) {
  const { x, y } = map.containerPointToLayerPoint([0, 0]);
  for (const { pane, left, right, height } of shares(map)) {
    pane.style.clip = `rect(${y}px ${x + right}px ${y + height}px ${x + left}px)`;
  }
}

function showZoom(image, factor) {
  byId("zoom").value = `×${Number(factor.toPrecision(3))}`;
  byId("size").value = [image.width, image.height].map((n) => Math.ceil(n * factor - 1e-6)).join(" × ");
  for (const side of SIDES) {
    byId(side).querySelector("span").textContent = factor > 1 ? "" : "the image itself up to ×1";
  }
}

/** Let the method of a side be chosen. */
function makeChoice(image, side, layer) {
  const choice = byId(SIDES[side]).querySelector("select");
  choice.append(...image.methods.map((name, method) => new Option(name, method)));
  choice.value = image.sides[side];
  choice.addEventListener("change", () => layer.setMethod(Number(choice.value)));
}

/** Draw the tiles at their places on the screen, in their own resolution. */
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
    for (const tile of pane.querySelectorAll(".leaflet-tile-loaded")) {
      const place = tile.getBoundingClientRect();
      const size = tile.width / density;
      context.drawImage(tile, place.left - box.left, place.top - box.top, size, size);
    }
    context.restore();
  }
  return canvas;
}

/** Have the browser save a file. */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The first side's method that is a network, else the first network: the last method, bicubic, is none. */
function networkShown(image) {
  const shown = SIDES.map((side) => Number(byId(side).querySelector("select").value));
  return shown.find((method) => method < image.methods.length - 1) ?? 0;
}

/** Show whether tiles are waited for; saving waits for them, and for Leaflet to have removed those of the last level. */
function makeStatus(layers, connection) {
  const showBusy = () => {
    const busy = layers.some((layer) => layer.isLoading());
    byId("save").disabled = busy;
    byId("status").value = connection.gone ? GONE : busy ? "decoding…" : "";
  };
  for (const layer of layers) {
    layer.on("loading", showBusy);
    layer.on("load", () => requestAnimationFrame(() => requestAnimationFrame(showBusy)));
  }
  showBusy();
  return showBusy;
}

async function main() {
  const image = await (await fetch("image.json")).json();
  byId("name").textContent = document.title = image.name;
  let showBusy = () => {};
  const connection = new Connection(() => showBusy());
  const { map, layers, factor } = makeMap(image, connection);
  showBusy = makeStatus(layers, connection);

  layers.forEach((layer, side) => makeChoice(image, side, layer));
  const show = () => showShares(map);
  map.on("move zoom viewreset resize", show);
  const split = () => {
    document.documentElement.style.setProperty("--split", `${byId("divider").value}%`);
    show();
  };
  byId("divider").addEventListener("input", split);
  map.on("zoomend", () => showZoom(image, factor()));
  split();
  showZoom(image, factor());

  const stem = image.name.replace(/\.[^.]*$/, "");
  byId("save").addEventListener("click", () => {
    const name = `${stem}-x${Number(factor().toPrecision(3))}.png`;
    drawScreen(map).toBlob((blob) => download(blob, name));
  });
  new Corners(map, stem, () => networkShown(image));
}

main();
