// The widget: one history for each model, and for each view of it the switch of the x axis and the plots.

const NO_RANGE = [0, 1];

/** A view of a board: its plots, and what they share. */
class View {
  constructor(model, history, element) {
    Object.assign(this, { model, history, element });
    const { spec } = history;
    this.storage = `crossbow_lab.x_axis.${model.model_id ?? ""}`;
    this.margins = marginsOf(spec.plots);
    this.zoom = null; // of an x axis, chosen by the person
    this.shown = []; // the range of each x axis without it
    this.allowance = new Allowance(); // to change that
    this.changes = 0; // that all plots draw in full
    this.restyled = 0;
    this.plots = [];
    this.closing = new AbortController();
    element.classList.add("cb-board");
    this.makeSwitch();
    this.grid = made("div", "cb-grid", element);
    this.cells = spec.plots.map((plot) => this.makeCell(plot));
    this.says = made("div", "cb-says", element);
    this.setAxis(this.storedAxis() ?? spec.x_axis);
  }

  /** The chosen axis outlives a reload of the page, without a message to the kernel. */
  storedAxis() {
    try {
      const axis = X_AXES.indexOf(sessionStorage.getItem(this.storage));
      return axis < 0 ? null : axis;
    } catch {
      return null; // a page may forbid storage
    }
  }

  makeSwitch() {
    const bar = made("div", "cb-axis", this.element);
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "x axis of all plots");
    bar.hidden = this.history.spec.plots.every((plot) => plot.x_axis || plot.kind === "points");
    made("span", "", bar).textContent = "by";
    this.buttons = X_AXES.map((name, axis) => {
      const button = made("button", "", bar);
      button.textContent = X_LABELS[name];
      button.onclick = () => this.setAxis(axis);
      return button;
    });
  }

  makeCell(plot) {
    const cell = made("section", "cb-plot", this.grid);
    Object.assign(cell.dataset, { title: plot.title, kind: plot.kind, rows: 0 });
    const head = made("div", "cb-head", cell);
    made("span", "cb-title", head).textContent = plot.title;
    made("span", "cb-legend", head);
    const box = made("div", "cb-box", cell);
    box.style.height = `${HEIGHT}px`;
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${plot.title}: loading`);
    return cell;
  }

  async open() {
    try {
      this.Plotly = await plotly(this.model, this.history.spec.plotly);
    } catch (error) {
      this.says.textContent = error.message;
      return;
    }
    const { signal } = this.closing;
    while (!this.element.isConnected && !signal.aborted) await sleep(20); // where plotly.js is there already
    if (signal.aborted) return;
    this.guard();
    this.restyle();
    this.plots = this.history.spec.plots.map((plot, index) => {
      const kind = plot.kind === "points" ? PointsPlot : SeriesPlot;
      return new kind(plot, this.history, this.cells[index], this.Plotly, this);
    });
    this.watch();
    this.update();
  }

  /** Keep JupyterLab's shortcuts from taking keys meant for a control of the dashboard: a "b" would insert a cell. */
  guard() {
    const dashboard = this.element.closest(".cb-dashboard") ?? this.element;
    const suppress = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    dashboard.addEventListener("focusin", suppress, { capture: true, signal: this.closing.signal });
  }

  /** Look where plots are in sight, how wide they are, and whether the theme is another. */
  watch() {
    const plotOf = (cell) => this.plots[this.cells.indexOf(cell)];
    const seen = (entries) => entries.forEach(({ target, isIntersecting }) => {
      plotOf(target).isSeen = isIntersecting;
      if (isIntersecting) plotOf(target).queue();
    });
    this.sights = new IntersectionObserver(seen, { rootMargin: "150px" });
    this.sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => plotOf(target).queue()));
    this.themes = new MutationObserver(() => {
      for (const wait of [50, 500]) setTimeout(() => this.restyle(), wait); // the theme's style sheet comes later
    });
    for (const cell of this.cells) {
      this.sights.observe(cell);
      this.sizes.observe(cell);
    }
    const attributes = { attributes: true, attributeFilter: ["class", "data-jp-theme-name", "data-jp-theme-light"] };
    for (const node of [document.body, document.documentElement]) this.themes.observe(node, attributes);
  }

  restyle() {
    const theme = themeOf(this.element);
    if (JSON.stringify(theme) === JSON.stringify(this.theme)) return;
    this.theme = theme;
    this.restyled++;
    this.changed();
  }

  setAxis(axis) {
    this.axis = axis;
    this.element.dataset.xAxis = X_AXES[axis];
    this.buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === axis)));
    try {
      sessionStorage.setItem(this.storage, X_AXES[axis]);
    } catch {
      // then the choice lasts until the page is left
    }
    this.shown = [];
    this.setZoom(null, axis);
  }

  setZoom(range, axis) {
    this.zoom = range && { range, axis };
    this.changed();
  }

  /** Return the range of an x axis that the person chose, or null. */
  zoomOf(axis) {
    return this.zoom?.axis === axis ? this.zoom.range : null;
  }

  /** Something changed that every plot draws in full. */
  changed() {
    this.changes++;
    this.update();
  }

  /** Return the range of x of all plots by an axis, the same array until it changes. It grows ahead of the rows. */
  range(axis) {
    const [first, last] = this.history.extent(axis);
    const zoom = this.zoomOf(axis);
    if (zoom || first > last) return zoom ?? NO_RANGE;
    const { generation } = this.history;
    const from = first > 0 && first < 0.1 * last ? 0 : first;
    const before = this.shown[axis];
    const isTheSame = before?.generation === generation && before.range[0] === from;
    if (isTheSame && (last <= before.range[1] || !this.allowance.take())) return before.range;
    const now = performance.now();
    const rate = isTheSame ? (last - before.last) / (now - before.at) : 0;
    const room = Math.max(0.015 * (last - from), 1.25 * FULL_EVERY_MS * rate) || 1e-3 * Math.abs(last) || 1;
    this.shown[axis] = { generation, range: [from, last + room], last, at: now };
    return this.shown[axis].range;
  }

  update() {
    this.element.dataset.rows = this.history.rows;
    for (const plot of this.plots) plot.queue();
  }

  close() {
    this.closing.abort();
    for (const observer of [this.sights, this.sizes, this.themes]) observer?.disconnect();
    for (const plot of this.plots) plot.close();
  }
}

/** Return what Python says of tables and plots; of a line it says only what is unusual. */
function specOf(model) {
  const spec = JSON.parse(model.get("_spec"));
  const usual = { colour: null, dash: "solid", axis: "left", mode: "lines", faint: false };
  for (const plot of spec.plots) plot.lines = plot.lines.map((line) => ({ ...usual, ...line }));
  return spec;
}

export default () => {
  const views = new Set();
  let history;
  return {
    initialize({ model }) {
      let askedAt = 0;
      history = new History(specOf(model));
      const update = () => views.forEach((view) => view.update());
      const takeSnapshot = () => {
        history.takeSnapshot(model);
        update();
      };
      takeSnapshot();
      model.on("change:_about", takeSnapshot);
      model.on("msg:custom", (message, buffers) => {
        const isMissing = history.take(message, buffers);
        if (isMissing && Date.now() - askedAt > 1000) {
          askedAt = Date.now();
          model.send({ type: "whole" }); // sooner than without asking; never needed
        }
        update();
      });
    },
    render({ model, el }) {
      const view = new View(model, history, el);
      views.add(view);
      view.open();
      return () => {
        views.delete(view);
        view.close();
      };
    },
  };
};
