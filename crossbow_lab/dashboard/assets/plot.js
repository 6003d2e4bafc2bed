// One plot over the x axis, in one view. An ordinary drawing only rewrites the paths of plotly's lines (about 1 ms); a
// full one by plotly (20-40 ms) comes when it must: at once when the person changes something, else at most every 2 s.

const MOST_POINTS = 4000;

class SeriesPlot {
  constructor(plot, history, cell, Plotly, view) {
    Object.assign(this, { plot, history, cell, Plotly, view });
    this.sources = plot.lines.map((line) => ({
      table: history.tables[line.table],
      column: X_AXES.length + history.spec.tables[line.table].indexOf(line.column),
    }));
    this.hidden = new Set();
    this.isSeen = false;
    this.changes = 0; // made by the person
    this.zoom = null; // of y; the view has that of x
    this.allowance = new Allowance();
    this.full = { key: "" };
    this.canBeFast = true;
    this.box = cell.querySelector(".cb-box");
    this.gd = made("div", "cb-gd", this.box);
    this.overlay = new Overlay(this.box);
    this.legend = new Legend(cell.querySelector(".cb-legend"), plot, (index) => this.toggle(index));
  }

  open(lines) {
    this.drawFull(lines, (...figure) => this.Plotly.newPlot(...figure, configOf(this.Plotly, this)));
    this.gd.on("plotly_relayout", (event) => this.zoomed(event));
    this.gd.on("plotly_relayouting", () => this.latest && this.drawOverlay(this.latest));
    this.gd.on("plotly_doubleclick", () => this.showAll());
    this.box.addEventListener("pointerenter", () => this.entered(true));
    this.box.addEventListener("pointerleave", () => this.entered(false));
  }

  get width() {
    return this.box.clientWidth || 500;
  }

  /** The x axis: the plot's own, or the one chosen for all that have none. */
  get axis() {
    return this.plot.x_axis ? X_AXES.indexOf(this.plot.x_axis) : this.view.axis;
  }

  queue() {
    page.queue.add(this);
  }

  /** Something changed that only a full drawing shows. */
  changed() {
    this.changes++;
    this.queue();
  }

  showAll() {
    this.zoom = null;
    this.changed();
    this.view.setZoom(null, this.axis);
  }

  zoomed(event) {
    const names = Object.keys(event);
    const { xaxis, yaxis, yaxis2 } = this.gd._fullLayout;
    if (names.some((name) => name.startsWith("yaxis"))) {
      this.zoom = { y: [...yaxis.range], y2: yaxis2 && [...yaxis2.range] };
    }
    if (names.some((name) => /^[xy]axis/.test(name))) this.changed();
    if (names.some((name) => name.startsWith("xaxis"))) this.view.setZoom([...xaxis.range], this.axis);
  }

  toggle(index) {
    if (!this.hidden.delete(index)) this.hidden.add(index);
    this.changed();
    return !this.hidden.has(index);
  }

  /** Under the pointer, what plotly tells about a point must be of now. */
  entered(isInside) {
    this.isInside = isInside;
    if (isInside) this.queue();
  }

  /** Return the points of every line; `isWhole`: also those after the moment that is shown. */
  lines(isWhole) {
    const { history, view } = this;
    const most = Math.max(120, Math.min(this.width, Math.floor(MOST_POINTS / this.sources.length)));
    return this.sources.map(({ table, column }) => {
      const rows = isWhole || history.until === null ? table.filled : table.until(0, history.until);
      return table.line(column, this.axis, view.zoomOf(this.axis), most, rows);
    });
  }

  /** Draw; return "fast" or "full", or null if there was nothing to draw on. */
  draw() {
    if (!this.gd.isConnected) return null;
    if (this.gd._dragging) {
      setTimeout(() => this.queue(), 200);
      return null;
    }
    const lines = this.lines(false);
    const isFull = this.mustBeFull(lines);
    if (!this.ranges) this.open(lines);
    else if (isFull) this.drawFull(lines, this.Plotly.react);
    else this.drawFast(lines);
    this.drawOverlay(lines);
    this.settle(isFull);
    this.cell.dataset.rows = this.sources[0]?.table.next ?? 0;
    this.cell.dataset.lastX = lastOf(lines);
    return isFull ? "full" : "fast";
  }

  mustBeFull(lines) {
    if (this.isAwaited || !this.canBeFast) return true;
    if (this.view.range(this.axis) !== this.ranges.x) {
      this.allowance.spend(); // all plots have one range, so this one doesn't wait
      return true;
    }
    const isOld = this.isSettled || (this.isInside && this.isStale);
    return (isOld || this.isOutOfRange(lines) || this.hasNewMarkers(lines)) && this.allowance.take();
  }

  get isAwaited() {
    return this.key !== this.full.key;
  }

  /** What, if it changes, is drawn in full at once. */
  get key() {
    const { changes, history, view, width } = this;
    return [changes, width, view.changes, history.generation, history.until === null, history.target].join();
  }

  /** Tell whether lines leave the y axes, or one has points but no path yet. */
  isOutOfRange(lines) {
    const lacksPath = ({ y }, index) => !this.paths[index].length && y.some((value) => value !== null);
    if (lines.some((line, index) => !this.hidden.has(index) && lacksPath(line, index))) return true;
    if (this.zoom || this.history.until !== null) return false;
    return ["left", "right"].some((axis) => {
      const [low, high] = boundsOf(lines, (index) => this.isOn(axis, index));
      const [from, to] = axis === "left" ? this.ranges.y : this.ranges.y2;
      return low < from || high > to;
    });
  }

  isOn(axis, index) {
    return !this.hidden.has(index) && this.plot.lines[index].axis === axis;
  }

  /** Tell whether lines with markers have new ones: a fast drawing moves no markers. */
  hasNewMarkers(lines) {
    const isMore = (index) => this.sources[index].table.next !== this.full.rows[index];
    return lines.some((points, index) => isMore(index) && hasMarkers(this.plot.lines[index], points));
  }

  /** Let plotly draw, by newPlot or react. */
  drawFull(lines, draw) {
    const { gd, history, plot, view } = this;
    this.ranges = this.rangesOf(history.until === null ? lines : this.lines(true));
    const traces = lines.map((points, index) => traceOf(plot, index, view.theme, points, this.hidden.has(index)));
    const figure = { ...this.ranges, xTitle: X_TITLES[X_AXES[this.axis]], isEmpty: lastOf(lines) === -Infinity };
    draw(gd, traces, layoutOf(plot, view, this.width, figure));
    this.paths = plot.lines.map((_, index) => {
      const uid = gd._fullData?.[index]?.uid;
      return uid ? [...gd.querySelectorAll(`.trace${uid} .js-line`)] : [];
    });
    this.full = { key: this.key, rows: this.sources.map(({ table }) => table.next) };
    this.isStale = this.isSettled = false;
    this.legend.draw(this.sources.map(({ table, column }) => table.hasValues(column)), view.theme);
    this.box.setAttribute("aria-label", this.summary(lines));
  }

  /** Return the ranges to show lines in: the view's of x; of y the person's, or with room. */
  rangesOf(lines) {
    const { history, plot } = this;
    const left = boundsOf(lines, (index) => this.isOn("left", index));
    if (plot.target_line && history.target !== null && left[0] <= left[1]) {
      left[0] = Math.min(left[0], history.target);
      left[1] = Math.max(left[1], history.target);
    }
    const right = boundsOf(lines, (index) => this.isOn("right", index));
    const y = withRoom(left, { fromZero: plot.from_zero, isPercent: plot.y_percent });
    return { y, y2: withRoom(right, {}), ...this.zoom, x: this.view.range(this.axis) };
  }

  /** Rewrite the paths. They and the axes' l2p are plotly's own: any surprise, and plotly draws from then on. */
  drawFast(lines) {
    try {
      const { xaxis, yaxis, yaxis2 } = this.gd._fullLayout;
      lines.forEach((points, index) => {
        if (this.hidden.has(index)) return;
        const path = pathOf(points, xaxis, this.plot.lines[index].axis === "right" ? yaxis2 : yaxis);
        this.paths[index].forEach((element, part) => element.setAttribute("d", part ? "M0,0" : path));
      });
    } catch (error) {
      this.canBeFast = false;
      console.warn("crossbow_lab: plotly draws the lines, slower than it could be", error);
    }
    this.isStale = true;
  }

  drawOverlay(lines) {
    this.latest = lines;
    const { history, overlay, plot } = this;
    const { xaxis, yaxis, _size: size } = this.gd._fullLayout;
    const key = [...xaxis.range, ...yaxis.range, size.w].join();
    const places = { left: size.l, top: size.t, width: size.w, height: size.h };
    const frame = { ...places, x: (x) => xaxis.l2p(x), y: (y) => yaxis.l2p(y), key };
    const target = plot.target_line ? history.target : null;
    overlay.draw(frame, history, this.axis, target);
    overlay.drawEnds(this.ends(lines, frame, target), frame);
    overlay.empty.textContent = lastOf(lines) === -Infinity ? "nothing yet" : "";
  }

  /** Return what is written right of the plot: the lines' names and last values, and the target. */
  ends(lines, frame, target) {
    const { plot, view } = this;
    const inside = (value) => Math.max(0, Math.min(frame.height, frame.y(value)));
    const shown = endLabels(plot).filter((index) => !this.hidden.has(index));
    const ends = shown.flatMap((index) => {
      const last = lines[index].y.findLast((y) => y !== null);
      if (last === undefined) return [];
      const name = hasNames(plot) ? shortName(plot.lines[index]) : "";
      const colour = colourOf(plot, index, view.theme);
      return [{ key: index, name, value: brief(last, plot.y_percent), px: inside(last), colour }];
    });
    if (target === null || !endLabels(plot).length) return ends;
    const ofTarget = { value: brief(target, plot.y_percent), px: inside(target), colour: view.theme.quiet };
    return [...ends, { key: "target", name: "target", ...ofTarget }];
  }

  /** When no more rows come, plotly draws once more: then what it tells under the pointer is right too. */
  settle(isFull) {
    clearTimeout(this.timer);
    if (isFull) return;
    this.timer = setTimeout(() => {
      this.isSettled = true;
      this.queue();
    }, 1500);
  }

  summary(lines) {
    const { plot } = this;
    const parts = lines.flatMap(({ x, y }, index) => {
      const at = y.findLastIndex((value) => value !== null);
      if (at < 0 || this.hidden.has(index)) return [];
      const isPercent = plot.y_percent && plot.lines[index].axis === "left";
      return [`${fullName(plot, plot.lines[index])} ${brief(y[at], isPercent)} at ${brief(x[at])}`];
    });
    const latest = parts.length ? `Latest: ${parts.join("; ")}` : "Nothing yet";
    return `${plot.title}, ${plot.y_title}, by ${X_TITLES[X_AXES[this.axis]]}. ${latest}.`;
  }

  export() {
    const marks = [...this.history.marks.values()].map((mark) => ({ x: mark.x[this.axis], text: mark.text }));
    return exportPicture(this.Plotly, this.gd, this.plot, marks);
  }

  close() {
    clearTimeout(this.timer);
    page.queue.drop(this);
    this.Plotly.purge(this.gd);
  }
}

/** Return the largest x of lines; -Infinity of nothing. */
function lastOf(lines) {
  return Math.max(-Infinity, ...lines.map(({ x }) => x.at(-1) ?? -Infinity));
}

/** Return the SVG path of a line; null is a gap. */
function pathOf({ x, y }, xaxis, yaxis) {
  let path = "";
  let pen = "M";
  for (let i = 0; i < x.length; i++) {
    if (y[i] === null) {
      pen = "M";
      continue;
    }
    path += `${pen}${xaxis.l2p(x[i]).toFixed(1)},${yaxis.l2p(y[i]).toFixed(1)}`;
    pen = "L";
  }
  return path || "M0,0";
}

/** The keys of a plot with several lines: buttons that show and hide them. */
class Legend {
  constructor(parent, plot, toggle) {
    this.plot = plot;
    parent.classList.toggle("cb-learners", plot.kind === "per_learner");
    this.keys = plot.lines.length < 2 ? [] : plot.lines.map((line, index) => {
      const key = made("button", line.faint ? "cb-key cb-faint" : "cb-key", parent);
      const name = fullName(plot, line);
      key.textContent = line.label;
      key.title = `Show or hide ${name}`;
      key.setAttribute("aria-label", name);
      key.setAttribute("aria-pressed", "true");
      key.onclick = () => key.setAttribute("aria-pressed", String(toggle(index)));
      return key;
    });
  }

  /** Colour the keys; those of lines that never had a value aren't shown. */
  draw(areThere, theme) {
    this.keys.forEach((key, index) => {
      key.style.setProperty("--cb-colour", colourOf(this.plot, index, theme));
      key.hidden = !areThere[index];
    });
  }
}
