// Files to keep: texts as they are, pictures of the network and of the curves, the link.

export default {
  template: `<span role="status">{{ said }}</span>`,
  data() { return { said: "" }; },
  methods: {
    save(name, text, type) { this.offer(name, URL.createObjectURL(new Blob([text], { type }))); },
    offer(name, url) {
      const link = document.createElement("a");
      link.href = url;
      link.download = name;
      link.click();
      this.said = "Saved " + name + ".";
    },
    png(name, svg) {
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        canvas.width = 2 * image.width;
        canvas.height = 2 * image.height;
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        this.offer(name, canvas.toDataURL("image/png"));
      };
      image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
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
