// One chart as numbers: lines of points become paths, ticks and a legend in pixels. No DOM, nothing kept.

const COLOURS = ["#3b82c4", "#d9730d", "#2f9e5f", "#c94a4a", "#8a63d2", "#94714f", "#c2569b", "#758391", "#8f8f1a", "#1f9aa8"];
const LEFT = 46, RIGHT = 17, BOTTOM = 22, ROW = 15, LETTER = 6.6; // pixels; a letter of the legend is about so wide
export const ZERO = 1e-18; // on a log axis a distance of exactly 0 is drawn at the bottom

// `lines` are {name, points: [[step, value]]}; `log` makes the values' axis logarithmic from ZERO to 1 and beyond;
// `at` is a step whose values the legend tells.
export function chart(lines, { width, height, log, at }) {
  const legend = entries(lines, width, at);
  const top = 6 + ROW * legend.rows, bottom = height - BOTTOM;
  const steps = lines.flatMap((l) => (l.points.length ? [l.points.at(-1)[0]] : []));
  const last = Math.max(1, ...steps);
  const [low, high, marks] = log ? decades(lines) : range(lines);
  const scale = log ? Math.log10 : (v) => v;
  const x = (step) => LEFT + (width - LEFT - RIGHT) * step / last;
  const y = (v) => bottom - (bottom - top) * (scale(v) - scale(low)) / (scale(high) - scale(low));
  return {
    x, at, last, legend: legend.shown, left: LEFT, right: width - RIGHT, top, bottom,
    lines: lines.map((l, n) => ({
      name: l.name, ...style(n), path: l.points.map(([s, v]) => x(s).toFixed(1) + "," + y(log ? Math.max(v, ZERO) : v).toFixed(1)).join(" "),
    })),
    across: ticks(0, last, Math.max(2, Math.floor(width / 80))).map((v) => ({ at: x(v), text: short(v) })),
    up: marks.map((v) => ({ at: y(v), text: log && v <= ZERO ? "0" : short(v) })),
  };
}

function style(n) { return { colour: COLOURS[n % COLOURS.length], dash: n < COLOURS.length ? null : "5 3" }; }

// Names in rows as wide as the chart, three rows at most.
function entries(lines, width, at) {
  const shown = [];
  let x = 4, row = 0;
  lines.forEach((l, n) => {
    const found = at === undefined ? undefined : nearest(l.points, at);
    const text = found ? l.name + " " + short(found[1], 4) : l.name;
    const wide = 22 + LETTER * text.length;
    if (x > 4 && x + wide > width) { x = 4; row++; }
    if (row < 3) shown.push({ text, x, y: 11 + ROW * row, ...style(n) });
    x += wide;
  });
  return { shown, rows: Math.min(3, row + 1) };
}

export function nearest(points, step) {
  return points.reduce((best, p) => (!best || Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best), null);
}

function extent(lines) {
  let low = Infinity, high = -Infinity;
  for (const l of lines) for (const [, v] of l.points) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}

function range(lines) {
  let [low, high] = extent(lines);
  if (!(low <= high)) [low, high] = [0, 1];
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) [low, high] = [low - 0.5 * Math.max(1e-3, Math.abs(low)), high + 0.5 * Math.max(1e-3, Math.abs(high))];
  const marks = ticks(low, high, 5);
  return [Math.min(low, marks[0]), Math.max(high, marks.at(-1)), marks];
}

function decades(lines) {
  const top = Math.max(0, Math.ceil(Math.log10(Math.max(1, extent(lines)[1]))));
  const bottom = Math.log10(ZERO), by = Math.ceil((top - bottom) / 4);
  const marks = [];
  for (let d = top; d > bottom + by / 2; d -= by) marks.push(10 ** d);
  return [ZERO, 10 ** top, [...marks, ZERO]];
}

// Round numbers from low to high, about so many.
function ticks(low, high, count) {
  const rough = (high - low) / count, ten = 10 ** Math.floor(Math.log10(rough));
  const by = ten * [1, 2, 5, 10].find((m) => m * ten >= rough);
  const marks = [];
  for (let n = Math.ceil(low / by - 1e-9); n * by <= high + 1e-9 * by; n++) marks.push(n * by);
  return marks;
}

export function short(v, digits = 3) { return v === 0 ? "0" : Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5 ? v.toExponential(digits === 3 ? 0 : 2) : String(Number(v.toPrecision(digits))); }
