// What lies over a plot and moves with every drawing, cheaply: marks, the target, labels at the lines' ends.

const CHARACTER_PX = 5.7; // of a mark's label

class Overlay {
  constructor(box) {
    this.layer = made("div", "cb-over", box);
    this.target = made("div", "cb-goal cb-out", this.layer);
    this.empty = made("div", "cb-empty", this.layer);
    this.marks = new Map();
    this.ends = new Map();
    this.shown = "";
    this.textsAt = 0;
  }

  /** Draw for `frame`: {left, top, width, height, x: value -> px, y: value -> px, key: changes where those do}. */
  draw(frame, history, axis, target) {
    const limit = history.until ?? Infinity;
    const key = [frame.key, history.version, target, axis, limit].join();
    if (key === this.shown) return;
    this.shown = key;
    for (const side of ["left", "top", "width", "height"]) this.layer.style[side] = `${frame[side]}px`;
    const marks = [...history.marks.values()].filter((mark) => mark.x[0] <= limit);
    this.drawMarks(marks.sort((a, b) => b.x[axis] - a.x[axis]), frame, axis);
    const px = target === null ? -1 : frame.y(target);
    this.target.classList.toggle("cb-out", !(px >= 0 && px <= frame.height));
    this.target.style.transform = `translateY(${px.toFixed(1)}px)`;
  }

  /** Draw marks, newest first. A label stands right of its mark, or left where a newer one is in the way. */
  drawMarks(marks, frame, axis) {
    const gone = new Set(this.marks.keys());
    let free = frame.width + 40;
    for (const mark of marks) {
      gone.delete(mark.key);
      const element = this.markFor(mark.key);
      const px = frame.x(mark.x[axis]);
      const isIn = px >= -0.5 && px <= frame.width + 0.5;
      const length = 6 + CHARACTER_PX * mark.text.length;
      const isRight = px + length <= free;
      const isLeft = !isRight && px <= free && px - length >= -frame.left;
      Object.assign(element.dataset, { kind: mark.kind, key: mark.key });
      element.style.transform = `translateX(${px.toFixed(1)}px)`;
      element.classList.toggle("cb-out", !isIn);
      element.classList.toggle("cb-left", isLeft);
      element.firstChild.textContent = isRight || isLeft ? mark.text : px > free ? "" : "▾";
      element.firstChild.title = mark.text;
      if (isIn && (isRight || isLeft)) free = isLeft ? px - length : px;
    }
    for (const key of gone) {
      this.marks.get(key).remove();
      this.marks.delete(key);
    }
  }

  markFor(key) {
    if (!this.marks.has(key)) {
      const element = made("div", "cb-mark", this.layer);
      made("span", "", element);
      this.marks.set(key, element);
    }
    return this.marks.get(key);
  }

  /** Write labels right of the plot: [{key, name, value, px, colour}], px from the top, value as text. */
  drawEnds(ends, frame) {
    const now = performance.now();
    const isTime = now - this.textsAt > 450; // numbers that change ten times a second can't be read
    if (isTime) this.textsAt = now;
    ends.sort((a, b) => a.px - b.px);
    const heights = ends.map((end) => (end.name ? 27 : 14));
    let below = heights.reduce((sum, height) => sum + height, 0);
    let next = -12;
    ends.forEach((end, place) => {
      const lowest = frame.height + 14 - below;
      const px = Math.max(next, Math.min(end.px - heights[place] / 2, lowest));
      next = px + heights[place];
      below -= heights[place];
      this.drawEnd(end, px, frame, isTime || !this.ends.has(end.key));
    });
    const named = new Set(ends.map((end) => end.key));
    for (const [key, element] of this.ends) element.classList.toggle("cb-out", !named.has(key));
  }

  drawEnd(end, px, frame, isTime) {
    if (!this.ends.has(end.key)) this.ends.set(end.key, made("div", "cb-end", this.layer));
    const element = this.ends.get(end.key);
    element.style.transform = `translate(${(frame.width + 7).toFixed(1)}px, ${px.toFixed(1)}px)`;
    element.style.color = end.colour;
    if (isTime) element.textContent = [end.name, end.value].filter(Boolean).join("\n");
  }
}
