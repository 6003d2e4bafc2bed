// The rows of one table, in bounded memory: columns.py does the same and says how.

const X_AXES = ["iteration", "epoch", "samples", "elapsed_s"];

class Table {
  constructor(nColumns) {
    this.nColumns = nColumns;
    this.newest = Math.min(20000, Math.floor(400000 / nColumns));
    this.older = 2 * Math.floor(this.newest / 5);
    this.clear();
  }

  clear() {
    this.filled = 0; // rows in memory
    this.thinned = 0; // how many of them, at the front, are pairs
    this.next = 0; // number of the row that comes next
    this.run = 4; // rows that the next pair stands for
    this.columns = Array.from({ length: this.nColumns }, () => new Float32Array(1024));
    this.buckets = new Map();
  }

  /** Append columns of rows, from their row number `from` on. */
  append(columns, from) {
    const more = columns[0].length - from;
    if (more <= 0) return;
    this.reserve(this.filled + more);
    columns.forEach((column, i) => this.columns[i].set(column.subarray(from), this.filled));
    this.filled += more;
    if (this.filled - this.thinned >= 1.25 * this.newest) this.thin();
  }

  reserve(rows) {
    if (rows <= this.columns[0].length) return;
    const bound = this.older + Math.ceil(1.25 * this.newest);
    const capacity = Math.max(rows, Math.min(2 * rows, bound));
    this.columns = this.columns.map((column) => {
      const grown = new Float32Array(capacity);
      grown.set(column.subarray(0, this.filled));
      return grown;
    });
  }

  thin() {
    let old = this.filled - this.newest;
    old -= (old - this.thinned) % this.run;
    const fronts = this.columns.map((column, i) => {
      const front = new Float32Array(this.thinned + (2 * (old - this.thinned)) / this.run);
      front.set(column.subarray(0, this.thinned));
      front.set(extremes(column.subarray(this.thinned, old), this.run, i < X_AXES.length), this.thinned);
      return front;
    });
    const isFull = fronts[0].length > this.older;
    const kept = isFull ? fronts.map((front, i) => pairsOfPairs(front, i < X_AXES.length)) : fronts;
    if (isFull) this.run *= 2;
    this.columns.forEach((column, i) => {
      column.copyWithin(kept[i].length, old, this.filled);
      column.set(kept[i]);
    });
    this.filled += kept[0].length - old;
    this.thinned = kept[0].length;
    this.buckets.clear();
  }

  /** Return the number of rows whose x is at most `x`. */
  until(axis, x) {
    const column = this.columns[axis];
    let low = 0;
    let high = this.filled;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (column[middle] <= x) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Return whether a column has any value. */
  hasValues(column) {
    return this.columns[column].subarray(0, this.filled).some((value) => Number.isFinite(value));
  }

  /** Return the rows of the smallest and the largest value in each whole bucket of `size` rows; kept for next time. */
  bucketsOf(column, size) {
    const key = column * 32 + Math.log2(size);
    if (!this.buckets.has(key)) this.buckets.set(key, []);
    const found = this.buckets.get(key);
    for (let end = (found.length / 2 + 1) * size; end <= this.filled; end += size) {
      const [low, high] = lowAndHigh(this.columns[column], end - size, end);
      found.push(Math.min(low, high), Math.max(low, high));
    }
    return found;
  }

  /**
   * Return {x, y} of at most about `most` points, with null in gaps, as a line over `axis` shows them: those in the
   * range of x and one beside it on each side, until row `rows`. Thinned by buckets, which keep every extreme.
   */
  line(column, axis, range, most, rows = this.filled) {
    const [xs, ys] = [this.columns[axis], this.columns[column]];
    const from = range ? Math.max(0, this.until(axis, range[0]) - 1) : 0;
    const to = range ? Math.min(rows, this.until(axis, range[1]) + 1) : rows;
    const points = { x: [], y: [] };
    const put = (row) => {
      points.x.push(xs[row]);
      points.y.push(Number.isFinite(ys[row]) ? ys[row] : null);
    };
    let size = 1;
    while ((to - from) / size > (size > 1 ? most / 2 : most)) size *= 2;
    if (size === 1) {
      for (let row = from; row < to; row++) put(row);
      return points;
    }
    const buckets = this.bucketsOf(column, size);
    const last = Math.floor(to / size);
    if (from === 0) put(0);
    for (let i = 2 * Math.floor(from / size); i < 2 * last; i++) {
      if (i % 2 === 0 || buckets[i] !== buckets[i - 1]) put(buckets[i]);
    }
    const rest = new Set(last * size < to ? [...lowAndHigh(ys, last * size, to), to - 1] : [to - 1]);
    [...rest].sort((a, b) => a - b).forEach(put);
    return points;
  }
}

/** Return the rows of the smallest and the largest value of a column from row `from` to before `to`. */
function lowAndHigh(column, from, to) {
  let [low, high] = [-1, -1];
  for (let row = from; row < to; row++) {
    if (Number.isNaN(column[row])) continue;
    if (low < 0 || column[row] < column[low]) low = row;
    if (high < 0 || column[row] > column[high]) high = row;
  }
  return low < 0 ? [from, from] : [low, high];
}

/** Return two values for each whole `run` of a column: its extremes in their order, or, of an x axis, its ends. */
function extremes(column, run, isX) {
  const pairs = new Float32Array(2 * Math.floor(column.length / run));
  for (let i = 0; i < pairs.length; i += 2) {
    const [from, to] = [(i / 2) * run, (i / 2 + 1) * run];
    const [a, b] = isX ? [from, to - 1] : lowAndHigh(column, from, to).sort((p, q) => p - q);
    pairs[i] = column[a];
    pairs[i + 1] = column[b];
  }
  return pairs;
}

/** Return half as many pairs; an odd one stays as it is. */
function pairsOfPairs(column, isX) {
  const whole = column.length - (column.length % 4);
  const pairs = new Float32Array(whole / 2 + (column.length % 4));
  pairs.set(extremes(column.subarray(0, whole), 4, isX));
  pairs.set(column.subarray(whole), whole / 2);
  return pairs;
}
