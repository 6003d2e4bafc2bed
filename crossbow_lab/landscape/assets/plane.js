// One picture: a stage for each view of the widget, over one record of the last messages.

const MOST_HEIGHT = 520;
const NEAR_PX = 18;

class Stage {
  constructor(model, record, element) {
    Object.assign(this, { model, record, element });
    this.closing = new AbortController();
    this.hovered = null;
    this.window = null;
    this.isSolid = false;
    this.showsArrows = true;
    this.isSeen = true;
    this.pressed = null;
    this.sentAt = 0;
    element.classList.add("cb-board", "cbl");
    this.makeBar();
    this.box = made("div", "cbl-box", element);
    this.flat = new Flat(this);
    this.solid = new Solid(this);
    this.canvas = made("canvas", "cbl-canvas", this.box);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.empty = made("div", "cb-empty", this.box);
    this.empty.textContent = "loading";
    this.timebar = new Timebar(element, (iteration) => this.send({ type: "seek", iteration }));
    this.words = made("table", "cbl-words", element);
    this.says = made("div", "cb-says", element);
  }

  makeBar() {
    const bar = made("div", "cbl-bar", this.element);
    const button = (name, title, action) => {
      const one = made("button", "cbl-button", bar);
      Object.assign(one, { textContent: name, title, onclick: action });
      return one;
    };
    this.fromAbove = button("contours", "From above", () => this.setSolid(false));
    this.fromAside = button("3-D", "From aside; drag, or the arrow keys, turn it", () => this.setSolid(true));
    button("whole", "Show the whole surface", () => this.look(null));
    button("learners", "Show where the learners are", () => this.lookAtLearners());
    button("+", "Closer", () => this.zoom(0.5)).setAttribute("aria-label", "zoom in");
    button("−", "Farther", () => this.zoom(2)).setAttribute("aria-label", "zoom out");
    const label = made("label", "", bar);
    label.textContent = "follow learner ";
    this.follow = made("input", "cbl-follow", label);
    Object.assign(this.follow, { type: "number", min: 1, value: 1 });
    this.follow.oninput = () => {
      this.hovered = null; // until the pointer moves again
      this.changed();
    };
    const arrows = made("label", "", bar);
    this.arrows = made("input", "", arrows);
    Object.assign(this.arrows, { type: "checkbox", checked: true });
    arrows.append(" arrows");
    this.arrows.onchange = () => {
      this.showsArrows = this.arrows.checked;
      this.changed();
    };
    this.setSolid(false);
  }

  setSolid(isSolid) {
    this.isSolid = isSolid;
    this.fromAbove.setAttribute("aria-pressed", String(!isSolid));
    this.fromAside.setAttribute("aria-pressed", String(isSolid));
    this.element.dataset.view = isSolid ? "solid" : "flat";
    this.changed();
  }

  async open() {
    try {
      this.Plotly = await plotly(this.model, JSON.parse(this.model.get("_spec")).plotly);
    } catch (error) {
      this.says.textContent = error.message;
      return;
    }
    const { signal } = this.closing;
    while (!this.element.isConnected && !signal.aborted) await sleep(20);
    if (signal.aborted) return;
    const dashboard = this.element.closest(".cb-dashboard") ?? this.element;
    const suppress = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    dashboard.addEventListener("focusin", suppress, { capture: true, signal });
    this.endNames = keepNamed(this.element);
    this.listen(signal);
    this.watch();
    this.restyle();
    this.update();
  }

  watch() {
    this.sights = new IntersectionObserver(([{ isIntersecting }]) => {
      this.isSeen = isIntersecting;
      if (isIntersecting) this.changed();
    }, { rootMargin: "150px" });
    this.sizes = new ResizeObserver(() => this.changed());
    this.themes = new MutationObserver(() => {
      for (const wait of [50, 500]) setTimeout(() => this.restyle(), wait); // the theme's style sheet comes later
    });
    this.sights.observe(this.box);
    this.sizes.observe(this.box);
    const attributes = { attributes: true, attributeFilter: ["class", "data-jp-theme-name", "data-jp-theme-light"] };
    for (const node of [document.body, document.documentElement]) this.themes.observe(node, attributes);
  }

  restyle() {
    this.theme = themeOf(this.element);
    this.changed();
  }

  /** Take what is new in the record. */
  update() {
    const { scene, moment } = this.record;
    if (scene && scene !== this.scene) {
      const isOther = scene.scene !== this.scene?.scene;
      Object.assign(this, { scene, whole: scene.grid });
      if (isOther) this.look(null);
    }
    if (!moment || !scene) return;
    this.moment = moment;
    this.timebar.show(moment);
    this.follow.max = moment.k;
    Object.assign(this.element.dataset, { iteration: moment.iteration, head: moment.head, k: moment.k });
    this.changed();
  }

  changed() {
    if (this.Plotly && this.moment) page.queue.add(this);
  }

  get isAwaited() {
    return this.pressed !== null;
  }

  /** Return the learner whose iteration is told: the one under the pointer, or the one that was chosen. */
  followed() {
    if (this.hovered !== null && this.hovered < this.moment.k) return this.hovered;
    const chosen = Math.round(+this.follow.value) - 1;
    return this.follow.value !== "" && chosen >= 0 && chosen < this.moment.k ? chosen : null;
  }

  /** Draw; called by the page's queue. */
  draw() {
    this.width = Math.floor(this.box.clientWidth);
    if (!this.width) return null;
    this.height = Math.min(MOST_HEIGHT, Math.max(300, Math.round(0.86 * this.width)));
    this.box.style.height = `${this.height}px`;
    this.grid = this.record.windows.find((grid) => grid.covers(this.window)) ?? this.whole;
    this.version = `${this.scene.scene} ${this.grid.x} ${this.grid.y}`;
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    this.empty.textContent = "";
    this.flat.plot.hidden = this.isSolid;
    const kind = (this.isSolid ? this.solid : this.flat).draw(pen);
    this.tell();
    return kind;
  }

  /** Say in words what is seen: the next iteration, and how many are out of sight. */
  tell() {
    const { moment } = this;
    const rows = wordsOf(moment, this.followed());
    this.words.replaceChildren(...rows.map(([colour, what, numbers, why]) => {
      const row = made("tr", "");
      const name = made("th", "", row);
      what.split("_").forEach((part, i) => {
        if (i) name.append(Object.assign(document.createElement("sub"), { textContent: part.match(/^\w+/)[0] }));
        name.append(i ? part.replace(/^\w+/, "") : part);
      });
      if (colour) name.style.setProperty("--cb-colour", onGround(colour, this.theme));
      made("td", "cbl-numbers", row).textContent = numbers;
      made("td", "", row).textContent = why;
      return row;
    }));
    const [x, y] = this.window;
    let out = 0;
    for (let j = 0; j < moment.k; j++) {
      const [a, b] = pair(moment.parts.learners, j);
      if (!(a >= x[0] && a <= x[1] && b >= y[0] && b <= y[1])) out++;
    }
    this.says.textContent = out ? `${out} of ${moment.k} learners are out of sight` : "";
    const [zx, zy] = pair(moment.parts.centre, 0);
    const where = `z at (${brief4(zx).trim()}, ${brief4(zy).trim()})`;
    const what = `${moment.k} learners on ${this.scene.name}, iteration ${moment.iteration}, ${where}`;
    this.canvas.setAttribute("aria-label", what);
  }

  /** Look at a window [[x, x], [y, y]]; null is the whole. */
  look(range) {
    this.window = range ?? [[...this.whole.x], [...this.whole.y]];
    const isKnown = this.whole.covers(this.window) || this.record.windows.some((grid) => grid.covers(this.window));
    if (!isKnown) this.send({ type: "window", x: this.window[0], y: this.window[1] });
    this.changed();
  }

  zoom(factor) {
    if (!this.moment) return;
    const middle = pair(this.moment.parts.centre, 0);
    this.look(this.window.map(([low, high], axis) => {
      const at = middle[axis] > low && middle[axis] < high ? middle[axis] : (low + high) / 2;
      const half = (factor * (high - low)) / 2;
      return [at - half, at + half];
    }));
  }

  /** Look at the learners, z, and where they go next. */
  lookAtLearners() {
    if (!this.moment) return;
    const arrows = arrowsOf(this.moment, shownLearners(this.moment, this.followed()));
    const next = arrows.flatMap(({ from, to }) => [...from, ...to]);
    const numbers = [...this.moment.parts.centre, ...this.moment.parts.learners, ...next];
    const ranges = [0, 1].map((axis) => {
      const values = numbers.filter((value, i) => i % 2 === axis && Number.isFinite(value));
      const ends = ([low, high], value) => [Math.min(low, value), Math.max(high, value)];
      return values.reduce(ends, [Infinity, -Infinity]);
    });
    if (ranges.some(([low, high]) => !(low <= high))) return;
    const whole = [this.whole.x, this.whole.y].map(([low, high]) => high - low);
    // Both axes by the same factor of the whole, so that directions look as they do there.
    const share = Math.max(1e-4, ...ranges.map(([low, high], axis) => (high - low) / whole[axis]));
    this.look(ranges.map(([low, high], axis) => {
      const [middle, half] = [(low + high) / 2, 0.65 * share * whole[axis]];
      return [middle - half, middle + half];
    }));
  }

  send(message) {
    this.model.send(message);
  }

  listen(signal) {
    const on = (name, action) => this.canvas.addEventListener(name, action, { signal });
    on("pointerdown", (event) => this.press(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", () => (this.pressed = null));
    on("pointerleave", () => this.hover(null));
    on("keydown", (event) => this.key(event));
  }

  press(event) {
    if (!this.moment || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = [event.offsetX, event.offsetY];
    if (!this.isSolid) this.placeStart(event, true);
  }

  move(event) {
    if (!this.moment) return;
    if (this.pressed === null) this.hover(this.learnerAt(event.offsetX, event.offsetY));
    else if (this.isSolid) {
      const [x, y] = this.pressed;
      this.solid.rotate((event.offsetX - x) / 120, (y - event.offsetY) / -160);
      this.pressed = [event.offsetX, event.offsetY];
      this.changed();
    } else this.placeStart(event, false);
  }

  release(event) {
    if (this.pressed !== null && !this.isSolid) this.placeStart(event, true);
    this.pressed = null;
  }

  /** Begin where the pointer is; while it is dragged a few times a second. */
  placeStart(event, isNow) {
    const point = this.flat.pointAt(event.offsetX, event.offsetY);
    const now = performance.now();
    if (!point || (!isNow && now - this.sentAt < 60)) return;
    this.sentAt = now;
    this.send({ type: "start", x: point[0], y: point[1] });
  }

  hover(learner) {
    if (learner === this.hovered) return;
    this.hovered = learner;
    this.element.dataset.hovered = learner === null ? "" : learner + 1;
    this.changed();
  }

  learnerAt(px, py) {
    const place = (this.isSolid ? this.solid : this.flat).toPixels();
    const { parts, k } = this.moment;
    let [found, nearest] = [null, NEAR_PX];
    for (let j = 0; j < k; j++) {
      const [x, y] = place(pair(parts.learners, j));
      const distance = Math.hypot(x - px, y - py);
      if (distance < nearest) [found, nearest] = [j, distance];
    }
    return found;
  }

  key(event) {
    const turns = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08] };
    if (!this.isSolid || !turns[event.key]) return;
    event.preventDefault();
    this.solid.rotate(...turns[event.key]);
    this.changed();
  }

  close() {
    this.closing.abort();
    this.endNames?.();
    page.queue.drop(this);
    for (const observer of [this.sights, this.sizes, this.themes]) observer?.disconnect();
  }
}

/** What came: the scene, the last moment, and parts of the surface in detail. */
class Record {
  constructor() {
    this.windows = [];
  }

  take(message, buffers) {
    if (message.type === "scene") {
      this.scene = { ...message, grid: new Grid(message.grid, buffers[0]) };
      this.windows = [];
    } else if (message.type === "window" && message.scene === this.scene?.scene) {
      this.windows = [...this.windows.slice(-7), new Grid(message.grid, buffers[0])];
    } else if (message.type === "frame") {
      const parts = Object.fromEntries(message.parts.map(([name], i) => [name, floats(buffers[i])]));
      this.moment = { ...message, parts };
    }
  }

  /** Take the snapshot out of the widget's state; what is left there is small enough to be saved in a notebook. */
  takeSnapshot(model) {
    const [about, bytes] = [model.get("_about"), model.get("_snapshot")];
    if (!about?.messages) return;
    let offset = 0;
    for (const [message, lengths] of about.messages) {
      const buffers = lengths.map((length) => {
        offset += length;
        return new DataView(bytes.buffer, bytes.byteOffset + offset - length, length);
      });
      this.take(message, buffers);
    }
    model.set("_snapshot", new DataView(new ArrayBuffer(0))); // never save_changes: it would send these to the kernel
    model.set("_about", {});
  }
}

export default () => {
  const stages = new Set();
  const record = new Record();
  return {
    initialize({ model }) {
      const update = () => stages.forEach((stage) => stage.update());
      record.takeSnapshot(model);
      model.on("change:_about", () => {
        record.takeSnapshot(model);
        update();
      });
      model.on("msg:custom", (message, buffers) => {
        record.take(message, buffers);
        update();
      });
    },
    render({ model, el }) {
      const stage = new Stage(model, record, el);
      stages.add(stage);
      stage.open();
      return () => {
        stages.delete(stage);
        stage.close();
      };
    },
  };
};
