// The state in the address. Back and forward are told to the server; it answers with the state of that entry.

export default {
  template: "<span hidden></span>",
  mounted() {
    this.listen = () => this.$emit("moved", window.location.search);
    window.addEventListener("popstate", this.listen);
  },
  unmounted() { window.removeEventListener("popstate", this.listen); },
  methods: {
    note(search, fresh) {
      const url = window.location.pathname + search;
      if (url === window.location.pathname + window.location.search) return;
      if (fresh) window.history.pushState(window.history.state, "", url);
      else window.history.replaceState(window.history.state, "", url);
    },
  },
};
