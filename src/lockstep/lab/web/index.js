// Shared by the page's components.

export { chart, nearest } from "./chart.js";

// Shades (two hex digits a point, `side` points a row) on a canvas: orange below the middle, blue above.
// There is one canvas for all: what is wanted of it is to be taken before the next call.
const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });
const COLOURS = Array.from({ length: 256 }, (_, n) => {
  const level = n / 127.5 - 1, far = Math.abs(level), [r, g, b] = level < 0 ? [217, 95, 14] : [31, 95, 168];
  return [255 + far * (r - 255), 255 + far * (g - 255), 255 + far * (b - 255), 255];
});

export function shaded(hex, side) {
  canvas.width = canvas.height = side;
  const image = context.createImageData(side, side);
  for (let n = 0; n < side * side; n++) image.data.set(COLOURS[parseInt(hex.substr(2 * n, 2), 16)], 4 * n);
  context.putImageData(image, 0, 0);
  return canvas;
}

// A drawing of the page as one that stands by itself: of its own size, dark on white.
export function standing(drawing) {
  const copy = drawing.cloneNode(true), { width, height } = drawing.viewBox.baseVal;
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of Object.entries({ width, height, fill: "#ffffff" })) ground.setAttribute(name, value);
  copy.prepend(ground);
  for (const [name, value] of Object.entries({ width, height, color: "#1b1f24" })) copy.setAttribute(name, value);
  return new XMLSerializer().serializeToString(copy);
}

// SVG as the address of a PNG, twice as fine.
export function pixels(svg) {
  return new Promise((done) => {
    const image = new Image();
    image.onload = () => {
      const made = document.createElement("canvas");
      made.width = 2 * image.width;
      made.height = 2 * image.height;
      made.getContext("2d").drawImage(image, 0, 0, made.width, made.height);
      done(made.toDataURL("image/png"));
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
  });
}

// Saves what is at an address on the learner's machine.
export function offer(name, url) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
