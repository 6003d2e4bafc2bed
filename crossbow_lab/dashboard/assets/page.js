// One plotly.js and one queue of drawings per page, however many boards are on it. The files beside this one are
// joined in the order that board.py gives.

const page = (globalThis[Symbol.for("crossbow_lab.page")] ??= {
  libraries: {}, // by version
  loads: 0,
  draws: { fast: { n: 0, ms: 0, max: 0 }, full: { n: 0, ms: 0, max: 0 } },
  queue: null,
});

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Run the compressed bundle as a module of its own: neither require.js nor another plotly.js on the page notices. */
async function unpack(gz) {
  page.loads++;
  const bundle = await new Response(new Blob([gz]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  const before = "let define; const module = { exports: {} }, exports = module.exports;\n";
  const parts = [before, bundle, "\nexport default module.exports;"];
  const url = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  const theirs = Object.getOwnPropertyDescriptor(window, "Plotly");
  try {
    return (await import(url)).default;
  } finally {
    URL.revokeObjectURL(url);
    if (theirs) Object.defineProperty(window, "Plotly", theirs);
    else delete window.Plotly;
  }
}

/** Return plotly.js: the page's, or the one in the state of the widget that the board refers to. */
async function plotly(model, version) {
  const id = model.get("_library").slice("IPY_MODEL_".length);
  for (let tries = 0; tries < 200; tries++) {
    if (page.libraries[version]) return page.libraries[version];
    try {
      const library = await model.widget_manager.get_model(id);
      const gz = library?.get("gz");
      if (gz?.byteLength) {
        page.libraries[version] = unpack(gz);
        library.set("gz", new DataView(new ArrayBuffer(0))); // in this page only, so that no notebook is saved with it
        return page.libraries[version];
      }
    } catch {
      // After a page load the library's model may be registered later than ours.
    }
    await sleep(100);
  }
  throw new Error("The plots can't be drawn: the plotting library didn't come. Run the cell again.");
}

const FULL_EVERY_MS = 2000;
const FULL_AT_ONCE = 3; // that many may follow each other sooner after a quiet time, as at the start

/** How many full drawings may be done. */
class Allowance {
  constructor() {
    this.left = FULL_AT_ONCE;
    this.at = performance.now();
  }

  spend() {
    const now = performance.now();
    this.left = Math.min(FULL_AT_ONCE, this.left + (now - this.at) / FULL_EVERY_MS) - 1;
    this.at = now;
  }

  /** Spend one if there is one. */
  take() {
    if (this.left + (performance.now() - this.at) / FULL_EVERY_MS < 1) return false;
    this.spend();
    return true;
  }
}

/**
 * The drawings to do. Each frame does some for a few ms, then leaves the page twice as long as that took; or only until
 * the next frame where the person waits for them.
 */
class Queue {
  constructor() {
    this.waiting = new Set();
    this.isArmed = false;
    this.freeAt = 0;
  }

  add(drawing) {
    this.waiting.add(drawing);
    this.arm();
  }

  drop(drawing) {
    this.waiting.delete(drawing);
  }

  arm() {
    if (this.isArmed || !this.waiting.size) return;
    this.isArmed = true;
    const wait = this.freeAt - performance.now();
    const nextFrame = () => requestAnimationFrame(() => this.run());
    if (wait > 4) setTimeout(nextFrame, wait);
    else nextFrame();
  }

  run() {
    this.isArmed = false;
    const started = performance.now();
    let [now, isAwaited] = [started, false];
    for (const drawing of this.waiting) {
      if (!drawing.isSeen) continue; // out of sight: drawn when it comes into sight, which adds it again
      this.waiting.delete(drawing);
      isAwaited ||= drawing.isAwaited;
      now = this.draw(drawing);
      if (now - started > 5) break;
    }
    this.freeAt = isAwaited ? now : now + Math.min(1000, 2 * (now - started));
    if (now !== started) this.arm();
  }

  draw(drawing) {
    const started = performance.now();
    let kind = null;
    try {
      kind = drawing.draw();
    } catch (error) {
      console.error(error);
    }
    const now = performance.now();
    if (kind) {
      const count = page.draws[kind];
      count.n++;
      count.ms += now - started;
      count.max = Math.max(count.max, now - started);
    }
    return now;
  }
}

page.queue ??= new Queue();
