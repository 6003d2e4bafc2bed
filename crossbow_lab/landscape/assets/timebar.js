// The bar through time: where one looks, how far was simulated, and what was done when.

const HANDS_OFF_MS = 400;
const NEAR_SHARE = 0.012; // of the bar: marks that are closer would cover each other

/** Return marks with those that are close to each other as one, at the first. */
function gathered(marks, head) {
  const all = [];
  for (const [iteration, text, kind] of marks) {
    const last = all.at(-1);
    if (last && iteration - last[0] < NEAR_SHARE * head) {
      last[1] += `; iteration ${iteration}: ${text}`;
      if (kind === "restart") last[2] = kind;
    } else all.push([iteration, text, kind]);
  }
  return all;
}

class Timebar {
  constructor(parent, seek) {
    const bar = made("div", "cbl-time", parent);
    this.label = made("label", "", bar);
    this.label.textContent = "iteration";
    const track = made("div", "cbl-track", bar);
    this.range = made("input", "cbl-range", track);
    Object.assign(this.range, { type: "range", min: 0, max: 1, value: 0, step: 1 });
    this.range.setAttribute("aria-label", "iteration, through time");
    this.marks = made("div", "cbl-marks", track);
    this.told = made("output", "cbl-told", bar);
    this.seek = seek;
    this.touchedAt = -Infinity;
    this.shown = "";
    this.range.addEventListener("input", () => {
      this.touchedAt = performance.now();
      this.say(+this.range.value, +this.range.max);
      seek(+this.range.value);
    });
  }

  say(iteration, head) {
    this.told.textContent = `${iteration.toLocaleString("en")} of ${head.toLocaleString("en")}`;
    this.range.setAttribute("aria-valuetext", `iteration ${iteration} of ${head}`);
  }

  show({ iteration, head, marks }) {
    this.range.max = Math.max(1, head);
    if (performance.now() - this.touchedAt > HANDS_OFF_MS) {
      this.range.value = iteration;
      this.say(iteration, head);
    }
    const key = JSON.stringify([marks, head]);
    if (key === this.shown) return;
    this.shown = key;
    const had = this.marks.contains(document.activeElement);
    this.marks.replaceChildren(...gathered(marks, head).map((mark) => this.markFor(mark, Math.max(1, head))));
    if (had) this.range.focus();
  }

  markFor([iteration, text, kind], head) {
    const button = made("button", "cbl-mark");
    button.dataset.kind = kind;
    button.style.left = `calc(8px + (100% - 16px) * ${iteration / head})`;
    button.title = `iteration ${iteration}: ${text}`;
    button.setAttribute("aria-label", `go to iteration ${iteration}: ${text}`);
    button.onclick = () => this.seek(iteration);
    return button;
  }
}
