// Loss, weights of the chosen units and distances between units over the updates. Points are kept here.

import { chart, nearest, offer, pixels, standing } from "lockstep-lab";

// Curves are redrawn a few times a second, the graph at every frame; where frames are slow, only at every fifth.
const PACE = 200, FRAMES = 5, MOST = 300, HEIGHT = 200;
const LARGEST = 1e200; // what is more, or not finite, is left out of a drawing

export default {
  template: `
    <div class="curves">
      <figure v-for="(title, n) in titles" :key="n">
        <figcaption>{{ title }} <output :data-curve="n"></output></figcaption>
        <svg class="chart" role="img" :aria-label="title + ' over the updates'" :viewBox="'0 0 ' + width + ' ' + height"
             font-family="system-ui, sans-serif" font-size="11" @pointermove="look(n, $event)" @pointerleave="away">
          <g v-if="shown[n]">
            <g v-for="t in shown[n].up" :key="'y' + t.text"><line :x1="shown[n].left" :x2="shown[n].right" :y1="t.at" :y2="t.at" stroke="currentColor" stroke-opacity="0.15" />
              <text :x="shown[n].left - 4" :y="t.at + 4" text-anchor="end" fill="currentColor">{{ t.text }}</text></g>
            <text v-for="t in shown[n].across" :key="'x' + t.text" :x="t.at" :y="shown[n].bottom + 15" text-anchor="middle" fill="currentColor">{{ t.text }}</text>
            <polyline v-for="l in shown[n].lines" :key="l.name" :points="l.path" :stroke="l.colour" :stroke-dasharray="l.dash" fill="none" stroke-width="1.8" />
            <line v-if="shown[n].at !== undefined" :x1="shown[n].x(shown[n].at)" :x2="shown[n].x(shown[n].at)" :y1="shown[n].top" :y2="shown[n].bottom" stroke="currentColor" stroke-opacity="0.5" />
            <g v-for="e in shown[n].legend" :key="'l' + e.x + ',' + e.y"><line :x1="e.x" :x2="e.x + 10" :y1="e.y - 4" :y2="e.y - 4" :stroke="e.colour" stroke-width="3" :stroke-dasharray="e.dash" />
              <text :x="e.x + 13" :y="e.y" fill="currentColor">{{ e.text }}</text></g>
          </g>
        </svg></figure>
    </div>`,
  props: { structure: Object, level: Number, units: { type: Array, default: () => [] }, locked: Boolean },
  data() {
    return {
      titles: ["Loss", "Weights of the chosen units", "Distance between units"],
      width: 240, height: HEIGHT, shown: [],
    };
  },
  created() { this.frames = []; this.every = 1; this.seen = 0; this.pace = PACE; },
  mounted() {
    this.listen = (event) => this.frame(event.detail);
    this.visible = () => this.draw();
    window.addEventListener("lab:frame", this.listen);
    document.addEventListener("visibilitychange", this.visible);
    this.observer = new ResizeObserver(([box]) => {
      this.width = Math.max(160, Math.round(box.contentRect.width));
      this.draw();
    });
    this.observer.observe(this.$el.querySelector(".chart"));
  },
  unmounted() {
    window.removeEventListener("lab:frame", this.listen);
    document.removeEventListener("visibilitychange", this.visible);
    clearTimeout(this.soon);
    this.observer.disconnect();
  },
  watch: {
    "structure.run"() { this.clear(); }, // every update from the server brings a new, equal structure
    units() { this.draw(); },
    level() { this.frames.forEach((f) => { f.distances = {}; }); this.draw(); },
  },
  methods: {
    clear() { this.frames = []; this.every = 1; this.seen = 0; this.draw(); },
    frame(f) {
      const last = this.frames.at(-1);
      if (last && f.step < last.step) this.clear();
      if (this.frames.at(-1)?.step === f.step) this.frames.pop();
      else if (this.seen++ % this.every) return this.tell(f);
      this.frames.push({ step: f.step, loss: f.loss, weights: f.weights.map(Number), distances: { ...f.distances }, side: f.side_distances ?? {} });
      if (this.frames.length > MOST) { this.frames = this.frames.filter((_, n) => n % 2 === 0); this.every *= 2; }
      this.tell(f);
    },
    // The captions say this frame's numbers; the drawing follows.
    tell(f) {
      this.newest = f;
      this.captions();
      const now = performance.now();
      this.pace = Math.min(1000, Math.max(PACE, FRAMES * (now - (this.before ?? now))));
      this.before = now;
      this.soon ??= setTimeout(() => { this.soon = null; this.draw(); }, this.pace);
    },
    captions() {
      const f = this.newest;
      const far = this.pairs().map(([i, j]) => f.distances[i + "," + j]).filter((d) => d !== undefined);
      const texts = [f.loss === null ? "not finite" : digits(f.loss), "", far.length ? this.distance(Math.max(...far)) : ""];
      this.$el.querySelectorAll("output").forEach((out, n) => { if (out.textContent !== texts[n]) out.textContent = texts[n]; });
    },
    distance(d) {
      if (d === 0) return "0, exactly";
      return digits(d) + (this.locked && d < 1e-6 ? ", by rounding only" : "");
    },
    pairs() {
      const units = [...this.units].sort((a, b) => a - b);
      return units.flatMap((i, n) => units.slice(n + 1).map((j) => [i, j]));
    },
    series() {
      const line = (name, of) => ({ name, points: this.frames.map((f) => [f.step, of(f)]).filter((p) => Number.isFinite(p[1]) && Math.abs(p[1]) < LARGEST) });
      const belongs = (e) => this.units.some((u) => (e.unit[0] === this.level && e.unit[1] === u) || (e.from && e.from[0] === this.level && e.from[1] === u));
      const chosen = [...this.structure.weights, ...this.structure.biases].filter(belongs).slice(0, 24);
      const name = (unit) => this.structure.units[this.level][unit];
      const sides = Object.keys(this.frames[0]?.side ?? {});
      return [
        [line("loss", (f) => f.loss)],
        chosen.map((e) => line(e.name, (f) => f.weights[e.at])),
        [...this.pairs().map(([i, j]) => line(name(i) + " – " + name(j), (f) => f.distances[i + "," + j])),
          ...sides.map((pair) => line("regression " + pair.split(",").map((k) => +k + 1).join(" – "), (f) => f.side[pair]))],
      ];
    },
    draw() {
      if (!this.structure || document.hidden) return;
      if (this.newest) this.captions();
      this.lines = this.series();
      this.shown = this.lines.map((lines, n) => Object.freeze(chart(lines, {
        width: this.width, height: this.height, log: n === 2, at: this.looked?.[0] === n ? this.looked[1] : undefined,
      })));
    },
    look(n, event) {
      const { left, right, last } = this.shown[n] ?? {}, box = event.currentTarget.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * this.width;
      const found = x < left || x > right ? null : nearest(this.lines[n].flatMap((l) => l.points), (x - left) / (right - left) * last);
      this.looked = found ? [n, found[0]] : null;
      this.draw();
    },
    away() { this.looked = null; this.draw(); },
    save(kind) {
      this.$el.querySelectorAll(".chart").forEach(async (made, n) => {
        const svg = standing(made), name = ["loss", "weights", "distances"][n] + "." + kind;
        offer(name, kind === "png" ? await pixels(svg) : URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" })));
      });
    },
  },
};

function digits(value) { return Number(value.toPrecision(4)).toString(); }
