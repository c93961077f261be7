// The network: units with maps of what they compute, weights as edges. Weights and units can be chosen.
// A frame changes numbers only; when it is on the screen, "drawn" is emitted and the next may come.

import { shaded } from "lockstep-lab";

const ACROSS = 220, DOWN = 108, RADIUS = 26, MARGIN = 62;

export default {
  template: `
    <div class="graph" :data-step="step" :data-rate="rate">
      <p class="step"><output data-do="step-count">step {{ step }}</output> <span>{{ rate }} frames/s</span></p>
      <div v-if="structure" class="scroll" tabindex="0" role="region" aria-label="Network graph">
        <svg :viewBox="'0 0 ' + width + ' ' + height" :style="{ minWidth: minWidth + 'px' }" role="group"
             aria-label="The network. Weights and units are buttons: Enter chooses, arrow keys move.">
          <g v-for="e in edges" :key="e.name" :class="edgeClass(e)" role="button" :tabindex="tab(e.name)"
             :aria-label="e.name + ' = ' + text(e) + ', from ' + unitName(e.from) + ' to ' + unitName(e.unit)"
             :aria-pressed="chosen(e) ? 'true' : 'false'" :data-weight="e.name" @click="pick(e)"
             @keydown.enter.prevent="pick(e)" @keydown.space.prevent="pick(e)" @keydown="move($event, e.name)">
            <line class="hit" v-bind="line(e)" />
            <line class="band" v-bind="line(e)" />
            <line class="wire" v-bind="line(e)" :stroke-width="thickness(e)" :class="value(e) < 0 ? 'minus' : 'plus'" />
            <text v-if="labelled(e)" :x="label(e).x" :y="label(e).y" text-anchor="middle">{{ e.name }} = {{ text(e) }}</text>
          </g>
          <g v-for="u in nodes" :key="u.key" :class="unitClass(u)" :role="u.level && !u.last ? 'button' : 'img'"
             :tabindex="u.level && !u.last ? tab(u.key) : null" :aria-label="unitLabel(u)" :data-unit="u.level + ',' + u.unit"
             :aria-pressed="u.level && !u.last ? (unitChosen(u) ? 'true' : 'false') : null" @click="pickUnit(u)"
             @keydown.enter.prevent="pickUnit(u)" @keydown.space.prevent="pickUnit(u)" @keydown="move($event, u.key)">
            <circle class="ring" :cx="u.x" :cy="u.y" :r="radius + 4" />
            <clipPath :id="'clip' + u.level + '-' + u.unit"><circle :cx="u.x" :cy="u.y" :r="radius" /></clipPath>
            <circle class="disc" :cx="u.x" :cy="u.y" :r="radius" />
            <image v-if="u.level && maps[u.level - 1]" :href="maps[u.level - 1][u.unit]" :x="u.x - radius" :y="u.y - radius"
                   :width="2 * radius" :height="2 * radius" preserveAspectRatio="none" :clip-path="'url(#clip' + u.level + '-' + u.unit + ')'" />
            <text v-if="!u.level" :x="u.x" :y="u.y + 5" text-anchor="middle">{{ u.name }}</text>
            <text v-else :x="u.x" :y="u.y - radius - 8" text-anchor="middle">{{ u.name }}<tspan v-if="lock(u)" class="lock"> {{ lock(u) }}</tspan></text>
          </g>
          <g v-for="b in small ? structure.biases : []" :key="b.name" class="bias" :class="{ chosen: chosen(b) }" role="button"
             :tabindex="tab(b.name)" :aria-label="b.name + ' = ' + text(b) + ', bias of ' + unitName(b.unit)"
             :aria-pressed="chosen(b) ? 'true' : 'false'" :data-weight="b.name" @click="pick(b)"
             @keydown.enter.prevent="pick(b)" @keydown.space.prevent="pick(b)" @keydown="move($event, b.name)">
            <text :x="place(b.unit).x" :y="place(b.unit).y + radius + 19" text-anchor="middle">{{ b.name }} = {{ text(b) }}</text>
          </g>
          <foreignObject v-for="e in edited" :key="'edit' + e.name" :x="box(e).x - 44" :y="box(e).y - 20" width="88" height="32">
            <input type="number" step="0.1" class="edit" :data-edit="e.name" :aria-label="'value of ' + e.name" :value="now[e.at]"
                   @change="edit(e, $event)" @click.stop @keydown.stop />
          </foreignObject>
        </svg>
      </div>
    </div>`,
  props: {
    structure: Object, level: Number,
    weights: { type: Array, default: () => [] }, units: { type: Array, default: () => [] },
    groups: { type: Array, default: () => [] },
  },
  data() {
    return { chains: [], now: [], maps: [], focus: null, step: 0, rate: 0 };
  },
  created() {
    this.waiting = null;
    this.times = [];
    this.frames = 0; // how many were drawn, for those who measure
  },
  computed: {
    small() { return this.structure.weights.length <= 30; },
    radius() { return Math.max(...this.structure.sizes) > 5 ? 21 : RADIUS; },
    down() { return Math.max(...this.structure.sizes) > 5 ? 72 : DOWN; },
    tall() { return Math.max(...this.structure.sizes); },
    width() { return 2 * MARGIN + ACROSS * (this.structure.sizes.length - 1); },
    height() { return this.down * this.tall + 30; },
    minWidth() { return Math.max(300, this.structure.sizes.length * 85); },
    edges() { return this.structure.weights; },
    edited() { return [...this.edges, ...(this.small ? this.structure.biases : [])].filter((e) => this.chosen(e)); },
    nodes() {
      const last = this.structure.sizes.length - 1;
      return this.structure.units.flatMap((names, level) =>
        names.map((name, unit) => ({ name, level, unit, last: level === last, key: "u" + level + "," + unit, ...this.place([level, unit]) })));
    },
    order() { return [...this.edges.map((e) => e.name), ...this.nodes.filter((u) => u.level && !u.last).map((u) => u.key), ...(this.small ? this.structure.biases.map((b) => b.name) : [])]; },
  },
  methods: {
    place([level, unit]) {
      const size = this.structure.sizes[level];
      return { x: MARGIN + ACROSS * level, y: 28 + this.down * ((this.tall - size) / 2 + unit + 0.45) };
    },
    line(e) {
      const a = this.place(e.from), b = this.place(e.unit);
      return { x1: a.x + this.radius, y1: a.y, x2: b.x - this.radius, y2: b.y };
    },
    label(e) {
      const { x1, y1, x2, y2 } = this.line(e);
      const along = Math.abs(y2 - y1) < 1 ? 0.55 : 0.3 + 0.12 * (e.unit[1] % 2); // beside the crossings
      return { x: x1 + along * (x2 - x1), y: y1 + along * (y2 - y1) - 6 };
    },
    box(e) { return e.from ? this.label(e) : { x: this.place(e.unit).x, y: this.place(e.unit).y + this.radius + 15 }; },
    text(e) { return this.now[e.at] ?? "…"; },
    value(e) { return Number(this.now[e.at] ?? 0); },
    thickness(e) { const v = Math.abs(this.value(e)); return (0.7 + 5 * v / (1 + v)).toFixed(2); },
    labelled(e) { return (this.small && this.structure.sizes.length < 5) || this.chosen(e) || this.focus === e.name; },
    chosen(e) { return this.weights.includes(e.name); },
    unitChosen(u) { return u.level === this.level && this.units.includes(u.unit); },
    unitName([level, unit]) { return this.structure.units[level][unit]; },
    edgeClass(e) {
      return ["edge", { chosen: this.chosen(e), chain0: this.chains[0]?.includes(e.name), chain1: this.chains[1]?.includes(e.name) }];
    },
    unitClass(u) { return ["unit", { chosen: u.level && this.unitChosen(u), locked: this.lock(u) }]; },
    lock(u) {
      const group = this.groups.find((g) => g.level === u.level && g.units.includes(u.unit));
      return group ? { twin: "locked", mirror: "mirror", balanced: "balanced" }[group.kind] : "";
    },
    unitLabel(u) {
      if (!u.level) return "input " + u.name;
      const lock = this.lock(u);
      return u.name + (u.last ? ", output" : "") + (lock ? ", " + lock : "");
    },
    // One stop of the Tab key for the whole graph; arrow keys go from there.
    tab(key) { return (this.focus ?? this.order[0]) === key ? 0 : -1; },
    move(event, key) {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.focus = this.order[(this.order.indexOf(key) + by + this.order.length) % this.order.length];
      this.$nextTick(() => this.$el.querySelector('svg [tabindex="0"]').focus());
    },
    pick(e) { this.focus = e.name; this.$emit("weight", e.name); },
    pickUnit(u) { if (u.level && !u.last) { this.focus = u.key; this.$emit("unit", { level: u.level, unit: u.unit }); } },
    edit(e, event) {
      const value = Number(event.target.value);
      if (event.target.value !== "" && Number.isFinite(value)) this.$emit("edit", { at: e.at, value });
      else event.target.value = this.text(e);
    },
    light(chains) { this.chains = chains; },
    frame(f) {
      window.dispatchEvent(new CustomEvent("lab:frame", { detail: f })); // the curves keep every point
      const first = this.waiting === null;
      this.waiting = f;
      const draw = () => {
        const latest = this.waiting;
        this.waiting = null;
        this.show(latest);
        this.$emit("drawn");
      };
      if (!first) this.$emit("drawn"); // replaced by a later one before it was drawn
      else if (document.hidden) setTimeout(draw, 0);
      else requestAnimationFrame(draw);
    },
    show(f) {
      this.frames++;
      this.now = f.weights;
      if (f.maps) this.maps = f.maps.map((layer) => layer.map((hex) => shaded(hex, this.structure.grid).toDataURL()));
      const time = performance.now();
      this.times = [...this.times.filter((t) => t > time - 1000), time];
      this.step = f.step;
      this.rate = this.times.length;
    },
  },
};
