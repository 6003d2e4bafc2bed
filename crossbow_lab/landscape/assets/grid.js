// A surface's losses over a view, as Python's grids.py compresses them.

/** Return float32 values, copied: what came need not be aligned. */
function floats(buffer) {
  return new Float32Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
}

class Grid {
  constructor(about, buffer) {
    Object.assign(this, about); // x, y: [low, high]; n; low, scale
    this.shade = floats(buffer);
    const finite = this.shade.filter(Number.isFinite);
    this.least = finite.reduce((a, b) => Math.min(a, b), Infinity);
    this.most = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  }

  /** Tell whether this is the grid of a window. */
  covers([x, y]) {
    const isNear = (a, b) => Math.abs(a - b) < 1e-6 * (Math.abs(a) + Math.abs(b) + 1e-9);
    return [0, 1].every((end) => isNear(this.x[end], x[end]) && isNear(this.y[end], y[end]));
  }

  /** Return the compressed loss at a point, between the nearest four; outside, that of the edge. */
  shadeAt(x, y) {
    const last = this.n - 1;
    const column = Math.min(last, Math.max(0, ((x - this.x[0]) / (this.x[1] - this.x[0])) * last));
    const row = Math.min(last, Math.max(0, ((y - this.y[0]) / (this.y[1] - this.y[0])) * last));
    const [c, r] = [Math.min(last - 1, Math.floor(column)), Math.min(last - 1, Math.floor(row))];
    const [u, v] = [column - c, row - r];
    const at = (dr, dc) => this.shade[(r + dr) * this.n + c + dc];
    return (1 - v) * ((1 - u) * at(0, 0) + u * at(0, 1)) + v * ((1 - u) * at(1, 0) + u * at(1, 1));
  }

  lossOf(shade) {
    return this.low + this.scale * Math.sinh(shade);
  }

  /** Return rows for plotly. */
  rows() {
    const row = (r) => Array.from(this.shade.subarray(r * this.n, (r + 1) * this.n));
    return Array.from({ length: this.n }, (_, r) => row(r));
  }
}

/** Return n evenly spaced numbers. */
function spaced([low, high], n) {
  return Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));
}
