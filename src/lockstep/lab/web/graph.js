// The network: units with maps of what they compute, weights as edges. Weights and units can be chosen, weights
// typed and dragged. What a frame changes (widths, colours, numbers, maps) is written into the drawing's attributes,
// and only where it differs; the template below holds what stays. When a frame is on the screen, "drawn" is emitted
// and the next may come.

import { shaded } from "lockstep-lab";

const DOWN = 108, RADIUS = 26, MARGIN = 44, LEAST = 92, HALF = 40; // HALF of a label is so wide
const HIDDEN = 1000; // milliseconds from frame to frame in a tab that nobody looks at; it draws none
const START = 4, FULL = 0.02; // pixels until a press is a drag; what one pixel then adds to a weight
const MOST = 1e6; // as in schema.json

export default {
  template: `
    <div class="graph">
      <p class="step"><output data-do="step-count">step 0</output> <span class="rate"></span></p>
      <div v-if="structure" class="scroll" tabindex="0" role="region" aria-label="Network graph">
        <svg :viewBox="'0 0 ' + width + ' ' + height" :style="{ minWidth: width + 'px' }" role="group"
             aria-label="The network. Weights and units are buttons: Enter chooses, arrow keys move, plus and minus change a weight.">
          <g v-for="e in edges" :key="e.name" :class="edgeClass(e)" v-bind="weight(e)" v-on="acts(e)">
            <line class="hit" v-bind="line(e)" />
            <line class="band" v-bind="line(e)" />
            <line class="wire plus" v-bind="line(e)" />
          </g>
          <g v-for="e in edges.filter(labelled)" :key="'label ' + e.name" class="label" :data-label="e.name" aria-hidden="true"
             v-on="acts(e)"><text class="value" :x="label(e).x" :y="label(e).y" text-anchor="middle"></text></g>
          <g v-for="u in nodes" :key="u.key" :class="unitClass(u)" :role="u.level && !u.last ? 'button' : 'img'"
             :tabindex="u.level && !u.last ? tab(u.key) : null" :aria-label="unitLabel(u)" :data-unit="u.level + ',' + u.unit"
             :aria-pressed="u.level && !u.last ? (unitChosen(u) ? 'true' : 'false') : null" @click="pickUnit(u)"
             @keydown.enter.prevent="pickUnit(u)" @keydown.space.prevent="pickUnit(u)" @keydown="move($event, u.key)">
            <circle class="ring" :cx="u.x" :cy="u.y" :r="radius + 4" />
            <clipPath :id="'clip' + u.level + '-' + u.unit"><circle :cx="u.x" :cy="u.y" :r="radius" /></clipPath>
            <circle class="disc" :cx="u.x" :cy="u.y" :r="radius" />
            <image v-if="u.level" :x="u.x - radius" :y="u.y - radius"
                   :width="2 * radius" :height="2 * radius" preserveAspectRatio="none" :clip-path="'url(#clip' + u.level + '-' + u.unit + ')'" />
            <text v-if="!u.level" :x="u.x" :y="u.y + 5" text-anchor="middle">{{ u.name }}</text>
            <text v-else :x="u.x" :y="u.y - radius - 8" text-anchor="middle">{{ u.name }}<tspan v-if="lock(u)" class="lock" dx="5">{{ lock(u) }}</tspan></text>
          </g>
          <g v-for="b in structure.biases" :key="b.name" class="bias" :class="{ chosen: chosen(b) }" v-bind="weight(b)" v-on="acts(b)">
            <template v-if="!small">
              <circle class="hit" :cx="knob(b).x" :cy="knob(b).y" r="12" />
              <circle class="knob" :cx="knob(b).x" :cy="knob(b).y" r="5" />
            </template>
            <text v-if="labelled(b)" class="value" :x="place(b.unit).x" :y="place(b.unit).y + radius + 19" text-anchor="middle"></text>
          </g>
          <foreignObject v-for="e in edited" :key="'edit' + e.name" v-bind="box(e)">
            <label class="edit">{{ e.name }}<input type="number" step="0.1" :data-edit="e.name" :aria-label="'value of ' + e.name"
                   @change="typed(e, $event)" @click.stop @pointerdown.stop @keydown.stop /></label>
          </foreignObject>
        </svg>
      </div>
    </div>`,
  props: {
    structure: Object, level: Number,
    weights: { type: Array, default: () => [] }, units: { type: Array, default: () => [] },
    groups: { type: Array, default: () => [] },
  },
  data() { return { chains: [], focus: null, room: 600 }; },
  created() {
    this.now = [];
    this.maps = [];
    this.waiting = null;
    this.times = [];
    this.frames = 0; // how many were drawn, for those who measure
    this.drag = null;
    this.seen = () => { if (!document.hidden && this.latest) this.show(this.latest); };
  },
  mounted() {
    document.addEventListener("visibilitychange", this.seen);
    this.observer = new ResizeObserver(([box]) => { this.room = Math.floor(box.contentRect.width); });
    this.observer.observe(this.$el);
  },
  unmounted() {
    document.removeEventListener("visibilitychange", this.seen);
    this.observer.disconnect();
  },
  updated() { this.write(true); },
  computed: {
    small() { return this.structure.weights.length <= 30; },
    radius() { return this.tall > 5 ? 21 : RADIUS; },
    down() { return this.tall > 5 ? 72 : DOWN; },
    tall() { return Math.max(...this.structure.sizes); },
    // Drawn as wide as there is room for, in pixels of the screen, so that names stay readable; narrower, it scrolls.
    across() { return Math.min(220, Math.max(LEAST, (this.room - 2 * MARGIN) / (this.structure.sizes.length - 1))); },
    width() { return 2 * MARGIN + this.across * (this.structure.sizes.length - 1); },
    height() { return this.down * this.tall + 30; },
    edges() { return this.structure.weights; },
    entries() { return new Map([...this.edges, ...this.structure.biases].map((e) => [e.name, e])); },
    edited() { return [...this.entries.values()].filter((e) => this.chosen(e)); },
    nodes() {
      const last = this.structure.sizes.length - 1;
      return this.structure.units.flatMap((names, level) =>
        names.map((name, unit) => ({ name, level, unit, last: level === last, key: "u" + level + "," + unit, ...this.place([level, unit]) })));
    },
    order() { return [...this.edges.map((e) => e.name), ...this.nodes.filter((u) => u.level && !u.last).map((u) => u.key), ...this.structure.biases.map((b) => b.name)]; },
  },
  methods: {
    place([level, unit]) {
      const size = this.structure.sizes[level];
      return { x: MARGIN + this.across * level, y: 28 + this.down * ((this.tall - size) / 2 + unit + 0.45) };
    },
    line(e) {
      const a = this.place(e.from), b = this.place(e.unit);
      return { x1: a.x + this.radius, y1: a.y, x2: b.x - this.radius, y2: b.y };
    },
    label(e) {
      const { x1, y1, x2, y2 } = this.line(e);
      const [many, few] = [e.from[0], e.unit[0]].map((level) => this.structure.sizes[level]);
      const room = Math.max(0.5, 1 - HALF / (x2 - x1)); // it may not reach into the unit
      const along = many > few ? 1 - Math.min(0.64, room) : Math.min(0.66, room); // where fewer edges meet: beside the crossings
      return { x: x1 + along * (x2 - x1), y: y1 + along * (y2 - y1) - 6 };
    },
    // The field of a chosen weight, in the place of its label.
    box(e) {
      const { x, y } = e.from ? this.label(e) : { x: this.place(e.unit).x, y: this.place(e.unit).y + this.radius + 15 };
      const width = 78 + 7 * e.name.length;
      return { x: x - width / 2, y: y - 20, width, height: 32 };
    },
    knob(b) { const { x, y } = this.place(b.unit); return { x: x + 0.75 * this.radius, y: y + 0.75 * this.radius }; },
    text(e) { return this.now[e.at] ?? "…"; },
    // Every weight has its number written to it where there is room: not between two wide layers.
    roomy(e) {
      const most = this.across > 165 ? 6 : this.across > 140 ? 4 : 0;
      return !e.from || this.structure.sizes[e.from[0]] * this.structure.sizes[e.unit[0]] <= most;
    },
    labelled(e) { return !this.chosen(e) && ((this.small && this.roomy(e)) || this.focus === e.name); },
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
    aria(e) { return e.name + " = " + this.text(e) + (e.from ? ", from " + this.unitName(e.from) + " to " : ", bias of ") + this.unitName(e.unit); },
    // What weights and biases have in common: buttons that are chosen, dragged, or changed by a key.
    weight(e) {
      return { role: "button", tabindex: this.tab(e.name), "data-weight": e.name, "aria-pressed": this.chosen(e) ? "true" : "false" };
    },
    acts(e) {
      return {
        click: () => this.pick(e), keydown: (event) => this.key(event, e),
        pointerdown: (event) => this.grab(event, e), pointermove: (event) => this.pull(event, e),
        pointerup: () => this.drop(e), pointercancel: () => { this.drag = null; this.write(true); },
      };
    },
    // One stop of the Tab key for the whole graph; arrow keys go from there.
    tab(key) { return (this.order.includes(this.focus) ? this.focus : this.order[0]) === key ? 0 : -1; },
    move(event, key) {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.focus = this.order[(this.order.indexOf(key) + by + this.order.length) % this.order.length];
      this.$nextTick(() => this.$el.querySelector('svg [tabindex="0"]').focus());
    },
    key(event, e) {
      const by = { "+": 0.1, "=": 0.1, "-": -0.1 }[event.key];
      if (by) this.$emit("edit", { at: e.at, by });
      else if (event.key === "Enter" || event.key === " ") this.pick(e);
      else return this.move(event, e.name);
      event.preventDefault();
    },
    pick(e) {
      if (this.dragged) { this.dragged = false; return; } // the click that ends a drag
      this.focus = e.name;
      this.$emit("weight", e.name);
    },
    pickUnit(u) { if (u.level && !u.last) { this.focus = u.key; this.$emit("unit", { level: u.level, unit: u.unit }); } },
    change(e, value) { this.$emit("edit", { at: e.at, value }); },
    typed(e, event) {
      const value = Number(event.target.value);
      if (event.target.value === "" || !Number.isFinite(value)) event.target.value = this.text(e);
      else if (Math.abs(value) > MOST) this.change(e, (event.target.value = Math.sign(value) * MOST));
      else this.change(e, value);
    },
    // Up is more; with Shift ten times finer. A finger scrolls the page, unless the weight is chosen.
    grab(event, e) {
      this.dragged = false;
      if (event.button || (event.pointerType === "touch" && !this.chosen(e))) return;
      this.drag = { at: e.at, from: event.clientY, value: Number(this.text(e)), moved: false };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    pull(event, e) {
      const drag = this.drag;
      if (drag?.at !== e.at) return;
      const up = drag.from - event.clientY;
      if (!drag.moved && Math.abs(up) < START) return;
      drag.moved = true;
      drag.now = Number((drag.value + up * FULL * (event.shiftKey ? 0.1 : 1)).toFixed(4));
      this.now = this.now.with(e.at, String(drag.now));
      this.write();
    },
    drop(e) {
      const drag = this.drag;
      this.drag = null;
      if (!drag?.moved) return;
      this.dragged = true;
      this.change(e, drag.now);
    },
    light(chains) { if (JSON.stringify(chains) !== JSON.stringify(this.chains)) this.chains = chains; },
    frame(f) {
      window.dispatchEvent(new CustomEvent("lab:frame", { detail: f })); // the curves keep every point
      const first = this.waiting === null;
      this.waiting = f;
      const draw = () => {
        this.latest = this.waiting;
        this.waiting = null;
        if (!document.hidden) this.show(this.latest);
        else this.keep(this.latest);
        this.$emit("drawn");
      };
      if (!first) this.$emit("drawn"); // replaced by a later one before it was drawn
      else if (document.hidden) setTimeout(draw, HIDDEN);
      else requestAnimationFrame(draw);
    },
    keep(f) {
      if (f.maps) this.maps = f.maps;
      this.step = f.step;
      this.$el.dataset.step = f.step;
    },
    show(f) {
      this.frames++;
      this.keep(f);
      this.now = this.drag ? f.weights.with(this.drag.at, this.now[this.drag.at]) : f.weights;
      this.write();
      const time = performance.now();
      this.times = [...this.times.filter((t) => t > time - 1000), time];
      said(this.$el.querySelector("[data-do=step-count]"), "step " + f.step);
      said(this.$el.querySelector(".rate"), this.times.length + " frames/s");
    },
    // The numbers of now into the drawing: all of them where Vue has made it anew, else what differs.
    write(all = false) {
      if (!this.structure) return;
      if (all || !this.parts) this.parts = this.found();
      for (const part of this.parts.weights) {
        const text = this.text(part.entry);
        if (part.text === text) continue;
        part.text = text;
        const v = Number(text), far = Math.min(Math.abs(v), 1e9) || 0; // it may be nan
        part.made.setAttribute("aria-label", this.aria(part.entry));
        if (part.wire) {
          part.wire.setAttribute("stroke-width", (0.7 + 5 * far / (1 + far)).toFixed(2));
          part.wire.setAttribute("class", v < 0 ? "wire minus" : "wire plus");
        }
        if (part.label) said(part.label, part.entry.name + " = " + text);
        if (part.field && part.field !== document.activeElement) part.field.value = text;
      }
      for (const part of this.parts.maps) {
        const hex = this.maps[part.level - 1]?.[part.unit];
        if (!hex || part.hex === hex) continue;
        part.hex = hex;
        part.made.setAttribute("href", shaded(hex, this.structure.grid).toDataURL());
      }
    },
    found() {
      const weights = [...this.$el.querySelectorAll("[data-weight]")].map((made) => ({
        made, entry: this.entries.get(made.dataset.weight), wire: made.querySelector(".wire"),
        label: made.querySelector(".value") ?? this.$el.querySelector('[data-label="' + made.dataset.weight + '"] text'),
        field: this.$el.querySelector('[data-edit="' + made.dataset.weight + '"]'),
      }));
      const maps = [...this.$el.querySelectorAll("[data-unit]")].map((made) => {
        const [level, unit] = made.dataset.unit.split(",").map(Number);
        return { made: made.querySelector("image"), level, unit };
      });
      return { weights, maps: maps.filter((part) => part.made) };
    },
  },
};

// A text that is replaced only where it differs: a text laid out again costs more than everything else in a frame.
function said(made, text) {
  if (made.firstChild) { if (made.firstChild.data !== text) made.firstChild.data = text; } else made.textContent = text;
}
