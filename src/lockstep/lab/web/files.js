// Files to keep and to bring back: texts as they are, pictures, the link; and a saved JSON read in again.

import { offer, pixels } from "lockstep-lab";

const LARGEST = 20000; // characters of a file that are read

export default {
  template: `<span><span role="status">{{ said }}</span>
    <input ref="file" type="file" accept=".json,application/json" hidden @change="read" data-do="file" aria-label="a run saved as JSON" /></span>`,
  data() { return { said: "" }; },
  methods: {
    save(name, text, type) { this.done(name, URL.createObjectURL(new Blob([text], { type }))); },
    async png(name, svg) { this.done(name, await pixels(svg)); },
    done(name, url) {
      offer(name, url);
      this.said = "Saved " + name + ".";
    },
    ask() { this.$refs.file.click(); },
    async read(event) {
      const [file] = event.target.files;
      if (!file) return;
      this.said = "";
      this.$emit("loaded", { name: file.name.slice(0, 100), text: (await file.slice(0, 4 * LARGEST).text()).slice(0, LARGEST + 1) });
      event.target.value = ""; // so that the same file may be chosen again
    },
    async link() {
      try {
        await navigator.clipboard.writeText(window.location.href);
        this.said = "The link is copied: it reproduces this run.";
      } catch {
        this.said = "Copy the address of this page: it reproduces this run.";
      }
    },
  },
};
