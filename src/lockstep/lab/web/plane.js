// What the network answers over the two features, with the samples; a click chooses the nearest sample.

import { shaded } from "lockstep-lab";

const SIDE = 240;

export default {
  template: `<canvas width="240" height="240" class="plane" role="img" @click="choose"
    aria-label="The network's answer over the two features, orange for 0 and blue for 1, with the samples as dots"></canvas>`,
  props: { structure: Object, sample: Number },
  mounted() {
    this.context = this.$el.getContext("2d");
    this.dots = document.createElement("canvas");
    this.dots.width = this.dots.height = SIDE;
    this.listen = (event) => this.frame(event.detail);
    this.seen = () => this.draw();
    window.addEventListener("lab:frame", this.listen);
    document.addEventListener("visibilitychange", this.seen);
  },
  unmounted() {
    window.removeEventListener("lab:frame", this.listen);
    document.removeEventListener("visibilitychange", this.seen);
  },
  watch: { structure() { this.place(); }, sample() { this.place(); } },
  methods: {
    frame(f) {
      if (!f.maps) return;
      this.shades = f.maps.at(-1)[0];
      this.draw();
    },
    at([p, q]) {
      const reach = this.structure.reach;
      return [(p / reach + 1) / 2 * SIDE, (1 - q / reach) / 2 * SIDE];
    },
    draw() {
      if (!this.structure || document.hidden) return;
      const c = this.context;
      if (this.shades) c.drawImage(shaded(this.shades, this.structure.grid), 0, 0, SIDE, SIDE);
      c.drawImage(this.dots, 0, 0);
    },
    // The samples stay where they are while it trains.
    place() {
      if (!this.structure) return;
      const c = this.dots.getContext("2d");
      c.clearRect(0, 0, SIDE, SIDE);
      this.structure.points.forEach(([p, q, y], n) => {
        const [x, top] = this.at([p, q]);
        c.beginPath();
        c.arc(x, top, n === this.sample ? 6 : 3, 0, 7);
        c.fillStyle = y ? "#123f73" : "#8a3a05";
        c.fill();
        c.lineWidth = n === this.sample ? 3 : 1;
        c.strokeStyle = n === this.sample ? "#000" : "#fff";
        c.stroke();
      });
      this.draw();
    },
    choose(event) {
      const box = this.$el.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * SIDE, top = (event.clientY - box.top) / box.height * SIDE;
      const far = this.structure.points.map((p) => { const [a, b] = this.at(p); return (a - x) ** 2 + (b - top) ** 2; });
      this.$emit("sample", far.indexOf(Math.min(...far)));
    },
  },
};
