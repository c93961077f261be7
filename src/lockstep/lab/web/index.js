// Shared by the page's components.

// Shades (two hex digits a point, `side` points a row) on a canvas: orange below the middle, blue above.
export function shaded(hex, side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  for (let n = 0; n < side * side; n++) {
    const level = parseInt(hex.slice(2 * n, 2 * n + 2), 16) / 127.5 - 1;
    const far = Math.abs(level), [r, g, b] = level < 0 ? [217, 95, 14] : [31, 95, 168];
    image.data.set([255 + far * (r - 255), 255 + far * (g - 255), 255 + far * (b - 255), 255], 4 * n);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
