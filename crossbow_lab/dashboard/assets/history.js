// What one board knows, whichever of its views are open: filled from the state, then by messages (wire.py).

const MOST_MARKS = 500;

class History {
  constructor(spec) {
    this.spec = spec;
    this.tables = {};
    for (const [name, columns] of Object.entries(spec.tables)) {
      this.tables[name] = new Table(X_AXES.length + columns.length);
    }
    this.generation = -1;
    this.clear();
  }

  clear() {
    for (const table of Object.values(this.tables)) table.clear();
    this.marks = new Map();
    this.points = {};
    this.target = null;
    this.until = null;
    this.version = (this.version ?? 0) + 1; // of the marks
  }

  /** Return how many rows of the first table came so far. */
  get rows() {
    return Object.values(this.tables)[0]?.next ?? 0;
  }

  /** Return the smallest and the largest x of all rows; [Infinity, -Infinity] without any. */
  extent(axis) {
    const filled = Object.values(this.tables).filter((table) => table.filled);
    const ends = filled.map(({ columns, filled }) => [columns[axis][0], columns[axis][filled - 1]]);
    return [Math.min(Infinity, ...ends.map(([first]) => first)), Math.max(-Infinity, ...ends.map(([, last]) => last))];
  }

  /** Take a message; tell whether rows are missing that it didn't bring. */
  take(message, buffers) {
    if (message.generation < this.generation) return false;
    if (message.generation > this.generation) this.clear();
    this.generation = message.generation;
    this.takeMarks(Object.values(message.marks ?? {}));
    if (message.points) Object.assign(this.points, message.points);
    if (message.target !== undefined) this.target = message.target;
    if (message.until !== undefined) this.until = message.until;
    const missing = new Set();
    message.parts.forEach((part, i) => this.takeRows(part, buffers[i], missing));
    return missing.size > 0;
  }

  /** Take marks, in the place of those with the same keys; the oldest go when there are too many. */
  takeMarks(marks) {
    if (!marks.length) return;
    for (const mark of marks) {
      this.marks.delete(mark.key);
      this.marks.set(mark.key, mark);
    }
    for (const key of this.marks.keys()) if (this.marks.size > MOST_MARKS) this.marks.delete(key);
    this.version++;
  }

  /** Take rows `from`..`to` of a table: as they came ("rows"), or the whole history in fewer rows ("all"). */
  takeRows([name, from, to, kind], buffer, missing) {
    const table = this.tables[name];
    if (to <= table.next) return;
    if (kind === "rows" && from > table.next) {
      missing.add(name);
      return;
    }
    const columns = splitColumns(buffer, table.nColumns);
    if (kind === "all") table.clear();
    table.append(columns, kind === "all" ? 0 : table.next - from);
    table.next = to;
    missing.delete(name);
  }

  /** Take the snapshot out of the widget's state; what is left there is small enough to be saved in a notebook. */
  takeSnapshot(model) {
    const [about, bytes] = [model.get("_about"), model.get("_snapshot")];
    if (!about?.parts) return;
    let offset = 0;
    const buffers = about.parts.map((part) => {
      const buffer = new DataView(bytes.buffer, bytes.byteOffset + offset, part[4]);
      offset += part[4];
      return buffer;
    });
    this.take(about, buffers);
    model.set("_snapshot", new DataView(new ArrayBuffer(0))); // never save_changes: it would send these to the kernel
    model.set("_about", {});
  }
}

/** Return the columns of a block of float32 values, copied: what came need not be aligned. */
function splitColumns(buffer, nColumns) {
  const bytes = buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
  const values = new Float32Array(bytes);
  const rows = values.length / nColumns;
  return Array.from({ length: nColumns }, (_, i) => values.subarray(i * rows, (i + 1) * rows));
}
