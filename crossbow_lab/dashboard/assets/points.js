// A plot of few labelled points, such as hardware against statistical efficiency; drawn by plotly when they change.

const RAYS = 4;

class PointsPlot {
  constructor(plot, history, cell, Plotly, view) {
    Object.assign(this, { plot, history, cell, Plotly, view });
    this.isSeen = this.isOpen = false;
    this.changes = 0;
    this.zoom = null;
    this.key = "";
    this.box = cell.querySelector(".cb-box");
    this.gd = made("div", "cb-gd", this.box);
    this.empty = made("div", "cb-empty", this.box);
  }

  open() {
    this.isOpen = true;
    this.drawWith((...figure) => this.Plotly.newPlot(...figure, configOf(this.Plotly, this)));
    this.gd.on("plotly_doubleclick", () => this.showAll());
    this.gd.on("plotly_relayout", (event) => this.zoomed(event));
  }

  get width() {
    return this.box.clientWidth || 500;
  }

  get known() {
    return this.history.points[this.plot.title] ?? { points: [], samples_per_epoch: null };
  }

  queue() {
    page.queue.add(this);
  }

  changed() {
    this.changes++;
    this.queue();
  }

  showAll() {
    this.zoom = null;
    this.changed();
  }

  zoomed(event) {
    if (!Object.keys(event).some((name) => /^[xy]axis/.test(name))) return;
    const { xaxis, yaxis } = this.gd._fullLayout;
    this.zoom = { x: [...xaxis.range], y: [...yaxis.range] };
    this.changed();
  }

  /** What is drawn. */
  get wanted() {
    return JSON.stringify([this.known, this.width, this.view.restyled, this.changes]);
  }

  get isAwaited() {
    return this.wanted !== this.key;
  }

  draw() {
    if (!this.isAwaited || !this.gd.isConnected || this.gd._dragging) return null;
    this.key = this.wanted;
    if (this.isOpen) this.drawWith(this.Plotly.react);
    else this.open();
    return "full";
  }

  drawWith(draw) {
    const { known, plot, view } = this;
    const isEmpty = known.points.length === 0;
    const ranges = this.zoom ?? rangesAround(known.points);
    const layout = layoutOf(plot, view, this.width, { xTitle: plot.x_title, isEmpty, ...ranges });
    if (known.samples_per_epoch && !isEmpty) {
      const { shapes, annotations } = raysOf(known.samples_per_epoch, ranges, view.theme);
      Object.assign(layout, { shapes, annotations: [...layout.annotations, ...annotations] });
    }
    draw(this.gd, [pointsTrace(known.points, ranges, view.theme)], layout);
    this.empty.textContent = isEmpty ? "nothing yet" : "";
    this.cell.dataset.rows = known.points.length;
    this.box.setAttribute("aria-label", this.summary(known.points));
  }

  summary(points) {
    const { title, x_title, y_title } = this.plot;
    const height = (point) => (point.y === null ? "not reached" : brief(point.y));
    const told = points.map((point) => `${point.label}: ${brief(point.x)}, ${height(point)}`);
    return `${title}, ${y_title} by ${x_title}. ${told.join("; ") || "Nothing yet"}.`;
  }

  export() {
    return exportPicture(this.Plotly, this.gd, this.plot, []);
  }

  close() {
    page.queue.drop(this);
    this.Plotly.purge(this.gd);
  }
}

/** Return ranges from zero that have room for points, their labels, and those not reached at the upper edge. */
function rangesAround(points) {
  const most = (values) => Math.max(0, ...values.filter(Number.isFinite)) || 1;
  const [right, top] = [most(points.map((point) => point.x)), most(points.map((point) => point.y ?? 0))];
  return { x: [0, 1.15 * right], y: [0, 1.3 * top] };
}

function pointsTrace(points, { x, y }, theme) {
  const colours = points.map((point) => onGround(point.colour, theme));
  const upper = y[0] + 0.92 * (y[1] - y[0]);
  const isReached = (point) => point.y !== null;
  return {
    type: "scatter",
    mode: "markers+text",
    x: points.map((point) => point.x),
    y: points.map((point) => point.y ?? upper),
    text: points.map((point) => `${point.label}${isReached(point) ? "" : " (not reached)"}`),
    textposition: points.map((point) => (point.x > x[0] + 0.6 * (x[1] - x[0]) ? "middle left" : "middle right")),
    textfont: { size: 11, color: colours },
    marker: {
      color: colours,
      size: points.map((point) => (point.is_current ? 12 : 8)),
      opacity: points.map((point) => (point.is_current ? 1 : 0.65)),
      symbol: points.map((point) => (isReached(point) ? "circle" : "triangle-up-open")),
      line: { width: points.map((point) => (isReached(point) ? 0 : 1.5)), color: colours },
    },
    cliponaxis: false,
    hovertemplate: points.map((point) => `${isReached(point) ? "%{y:,.3~r}, " : ""}%{x:,.4~r}<extra>%{text}</extra>`),
  };
}

/** Return shapes and labels of lines through zero: along each, epochs and samples/s make the same time. */
function raysOf(samplesPerEpoch, { x: [, right], y: [, top] }, theme) {
  const diagonal = (top * samplesPerEpoch) / right; // s
  const times = niceTimes(diagonal / 5, diagonal * 5);
  const rays = times.filter((_, i) => i % Math.ceil(times.length / RAYS) === 0).map((seconds) => {
    const slope = seconds / samplesPerEpoch;
    const isSteep = slope * right > top;
    return { seconds, isSteep, x: isSteep ? top / slope : right, y: isSteep ? top : slope * right };
  });
  const line = { color: theme.grid, width: 1.5 };
  const shapes = rays.map(({ x, y }) => ({ type: "line", layer: "below", x0: 0, y0: 0, x1: x, y1: y, line }));
  const annotations = rays.map(({ seconds, isSteep, x, y }) => ({
    x,
    y,
    text: timeText(seconds),
    showarrow: false,
    font: { size: 10, color: theme.quiet },
    xanchor: isSteep ? "center" : "left",
    yanchor: isSteep ? "bottom" : "middle",
  }));
  return { shapes, annotations };
}

/** Return round times between two positive ones, in seconds. */
function niceTimes(from, to) {
  const digits = [-3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  const seconds = digits.filter((time) => time < 50); // 50 s are too near a minute
  const minutes = [1, 2, 5, 10, 20, 30].map((time) => 60 * time);
  const hours = digits.filter((time) => time >= 1).map((time) => 3600 * time);
  return [...seconds, ...minutes, ...hours].filter((time) => time >= from && time <= to);
}

function timeText(seconds) {
  if (seconds < 60) return `${Number(seconds.toPrecision(1))} s`;
  return seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`;
}
