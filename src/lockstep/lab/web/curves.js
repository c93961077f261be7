// Loss, weights of the chosen units and distances between units over the steps. Points are kept here.

import { echarts } from "nicegui-echart";

const PACE = 200, MOST = 400, ZERO = 1e-18; // a distance of exactly 0 is drawn at the bottom of the log axis

export default {
  template: `
    <div class="curves">
      <figure v-for="(title, n) in titles" :key="n"><figcaption>{{ title }} <output :data-curve="n">{{ last[n] }}</output></figcaption>
        <div class="chart" role="img" :aria-label="title + ' over the updates'"></div></figure>
    </div>`,
  props: { structure: Object, level: Number, units: { type: Array, default: () => [] }, locked: Boolean },
  data() {
    return { titles: ["Loss", "Weights of the chosen units", "Distance between units"], last: ["", "", ""] };
  },
  created() { this.pace = PACE; this.frames = []; this.every = 1; this.seen = 0; },
  mounted() {
    this.listen = (event) => this.frame(event.detail);
    window.addEventListener("lab:frame", this.listen);
    this.start();
    // Light or dark is a class of the body, set by the system's wish or by the button.
    this.theme = new MutationObserver(() => { if (this.dark !== dark()) this.again(); });
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  },
  unmounted() {
    this.theme.disconnect();
    window.removeEventListener("lab:frame", this.listen);
    clearTimeout(this.soon);
    this.observer.disconnect();
    this.charts.forEach((chart) => chart.dispose());
  },
  watch: {
    "structure.run"() { this.clear(); }, // every update from the server brings a new, equal structure
    units() { this.draw(); },
    level() { this.frames.forEach((f) => { f.distances = {}; }); this.draw(); },
  },
  methods: {
    start() {
      this.shown = [];
      this.dark = dark();
      const boxes = [...this.$el.querySelectorAll(".chart")];
      this.charts = boxes.map((box) => echarts.init(box, this.dark ? "dark" : null));
      this.observer = new ResizeObserver(() => this.charts.forEach((chart) => chart.resize()));
      boxes.forEach((box) => this.observer.observe(box));
      this.charts.forEach((chart, n) => chart.setOption({
        animation: false, backgroundColor: "transparent",
        grid: { left: 58, right: 12, top: 30, bottom: 26 },
        legend: { type: "scroll", top: 0, itemWidth: 14 },
        tooltip: { trigger: "axis", valueFormatter: (v) => n === 2 && v <= ZERO ? "0" : Number(v).toPrecision(4) },
        xAxis: { type: "value", min: 0 },
        yAxis: n === 2
          ? { type: "log", min: ZERO, max: (range) => Math.max(1, range.max || 1), splitNumber: 4, axisLabel: { formatter: (v) => (v <= ZERO ? "0" : v.toExponential(0)) } }
          : { type: "value", scale: n === 1, axisLabel: { formatter: (v) => Number(v.toPrecision(3)) } },
      }));
    },
    again() {
      this.charts.forEach((chart) => chart.dispose());
      this.observer.disconnect();
      this.start();
      this.draw();
    },
    clear() { this.frames = []; this.every = 1; this.seen = 0; this.draw(); },
    frame(f) {
      const last = this.frames.at(-1);
      if (last && f.step < last.step) this.clear();
      if (this.frames.at(-1)?.step === f.step) this.frames.pop();
      else if (this.seen++ % this.every) return this.tell(f);
      this.frames.push({ step: f.step, loss: f.loss, weights: f.weights.map(Number), distances: { ...f.distances }, side: f.side_distances ?? {} });
      if (this.frames.length > MOST) { this.frames = this.frames.filter((_, n) => n % 2 === 0); this.every *= 2; }
      this.tell(f);
      // ECharts takes tens of milliseconds: the curves are redrawn a few times a second, the graph at every frame.
      // Where drawing is slow, less often still: a tenth of the time at most goes into it.
      this.soon ??= setTimeout(() => {
        const start = performance.now();
        this.draw();
        this.soon = null;
        this.pace = Math.max(PACE, 10 * (performance.now() - start));
      }, this.pace);
    },
    tell(f) {
      const pairs = this.pairs().map(([i, j]) => f.distances[i + "," + j]).filter((d) => d !== undefined);
      this.last = [f.loss === null ? "not finite" : digits(f.loss), "", pairs.length ? this.distance(Math.max(...pairs)) : ""];
    },
    distance(d) {
      if (d === 0) return "0, exactly";
      return digits(d) + (this.locked && d < 1e-6 ? ", by rounding only" : "");
    },
    pairs() {
      const units = [...this.units].sort((a, b) => a - b);
      return units.flatMap((i, n) => units.slice(n + 1).map((j) => [i, j]));
    },
    draw() {
      if (!this.structure) return;
      const line = (name, of) => ({
        name, type: "line", showSymbol: false, lineWidth: 2,
        data: this.frames.map((f) => [f.step, of(f)]).filter((p) => p[1] !== undefined && p[1] !== null),
      });
      const belongs = (e) => this.units.some((u) => (e.unit[0] === this.level && e.unit[1] === u) || (e.from && e.from[0] === this.level && e.from[1] === u));
      const shown = [...this.structure.weights, ...this.structure.biases].filter(belongs).slice(0, 24);
      const name = (unit) => this.structure.units[this.level][unit];
      const above = (d) => (d === undefined ? d : Math.max(d, ZERO));
      const sides = Object.keys(this.frames[0]?.side ?? {});
      const series = [
        [line("loss", (f) => f.loss)],
        shown.map((e) => line(e.name, (f) => f.weights[e.at])),
        [...this.pairs().map(([i, j]) => line(name(i) + " – " + name(j), (f) => above(f.distances[i + "," + j]))),
          ...sides.map((pair) => line("regression " + pair.split(",").map((k) => +k + 1).join(" – "), (f) => above(f.side[pair])))],
      ];
      this.charts.forEach((chart, n) => {
        const names = series[n].map((one) => one.name).join();
        chart.setOption({ series: series[n] }, names === this.shown[n] ? {} : { replaceMerge: ["series"] });
        this.shown[n] = names;
      });
    },
    save(kind) {
      this.charts.forEach((chart, n) => {
        const link = document.createElement("a");
        link.download = ["loss", "weights", "distances"][n] + "." + kind;
        link.href = kind === "png" ? chart.getDataURL({ pixelRatio: 2, backgroundColor: "#fff" }) : this.svg(chart);
        link.click();
      });
    },
    svg(chart) {
      const aside = echarts.init(null, null, { renderer: "svg", ssr: true, width: 640, height: 360 });
      aside.setOption({ ...chart.getOption(), animation: false });
      const text = aside.renderToSVGString();
      aside.dispose();
      return URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    },
  },
};

function digits(value) { return Number(value.toPrecision(4)).toString(); }

function dark() { return document.body.classList.contains("body--dark"); }
