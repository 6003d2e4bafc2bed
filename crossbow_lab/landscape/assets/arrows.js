// What moves one learner, and z, in the next iteration: arrows and words, from the same numbers.

const GRADIENT = "#E69F00";
const CORRECTION = "#CC79A7";
const MOMENTUM = "#56B4E9";
const ARROWS_OF_ALL = 4; // with so few learners arrows of all are shown

/** Return the learners whose arrows are shown. */
function shownLearners(frame, followed) {
  if (!frame?.parts.steps) return [];
  const k = frame.parts.steps.length / 2;
  if (k <= ARROWS_OF_ALL && !frame.playing) return Array.from({ length: k }, (_, j) => j);
  return followed !== null && followed < k ? [followed] : [];
}

const pair = (values, j) => [values[2 * j], values[2 * j + 1]];
const plus = (a, b, factor = 1) => [a[0] + factor * b[0], a[1] + factor * b[1]];

/**
 * Return arrows, each {from, to, colour, label}: a learner's own step, then its correction, end to end; z's likewise.
 */
function arrowsOf(frame, learners) {
  const { parts } = frame;
  if (!parts.steps) return [];
  const arrows = learners.flatMap((j) => {
    const w = pair(parts.learners, j);
    const tip = plus(w, pair(parts.steps, j));
    const name = String(j + 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
    const label = frame.has_local_momentum ? `v${name}` : `−γ g${name}`;
    const step = { from: w, to: tip, colour: GRADIENT, label };
    const end = plus(tip, pair(parts.corrections, j), -1);
    const correction = { from: tip, to: end, colour: CORRECTION, label: `−c${name}` };
    return frame.synchronises && frame.has_corrections ? [step, correction] : [step];
  });
  if (!learners.length || !frame.synchronises) return arrows;
  const z = pair(parts.centre, 0);
  const middle = plus(z, pair(parts.moves, 0));
  const isMean = !frame.has_corrections;
  const given = { from: z, to: middle, colour: isMean ? GRADIENT : CORRECTION, label: isMean ? "−γ ḡ" : "Σ c" };
  const rolled = { from: middle, to: plus(middle, pair(parts.moves, 1)), colour: MOMENTUM, label: "μ (z − z′)" };
  return [...arrows, given, rolled];
}

const inWords = ([x, y]) => `(${brief4(x)}, ${brief4(y)})`;

/** Return a number in four digits, of one width whatever its sign. */
function brief4(value) {
  if (!Number.isFinite(value)) return "∞";
  const size = Math.abs(value);
  const text = size >= 1e4 || (size !== 0 && size < 1e-4) ? value.toExponential(1) : value.toPrecision(4);
  return (value < 0 ? "" : " ") + text.replace("-", "−");
}

/** Return the next iteration of one learner in words: rows of [colour, what, numbers, why]. */
function wordsOf(frame, j) {
  const { parts } = frame;
  if (!parts.steps || j === null || j >= frame.k) return [];
  const name = j + 1;
  const minus = (values) => values.map((value) => -value);
  const rows = [
    ["", `w_${name}`, inWords(pair(parts.learners, j)), `learner ${name}; what iteration ${frame.iteration + 1} does:`],
    [GRADIENT, frame.has_local_momentum ? `v_${name}` : `−γ g_${name}`, inWords(pair(parts.steps, j)),
      `γ = ${frame.gamma}, g = (${pair(parts.gradients, j).map((part) => brief(part)).join(", ")})`],
  ];
  if (frame.has_corrections) {
    const why = frame.synchronises ? `c = α (w − z), α = ${frame.alpha}` : "this iteration doesn't synchronise";
    rows.push([CORRECTION, `−c_${name}`, inWords(minus(pair(parts.corrections, j))), why]);
  }
  rows.push(["", "z", inWords(pair(parts.centre, 0)), "the central average model"]);
  const isMean = !frame.has_corrections;
  rows.push([isMean ? GRADIENT : CORRECTION, isMean ? "−γ ḡ" : "Σ c_j", inWords(pair(parts.moves, 0)),
    isMean ? "the mean gradient of all learners" : "what the learners gave"]);
  rows.push([MOMENTUM, "μ (z − z_prev)", inWords(pair(parts.moves, 1)), `z's own momentum, μ = ${frame.mu}`]);
  return rows;
}

/** Draw an arrow between two places in pixels, with its label beside its middle. */
function drawArrow(pen, from, to, colour, label, theme) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy);
  if (!(length > 1.5 && length < 1e5)) return;
  const [ux, uy] = [dx / length, dy / length];
  const head = Math.min(9, 0.6 * length);
  pen.strokeStyle = pen.fillStyle = onGround(colour, theme);
  pen.lineWidth = 2.5;
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(to[0] - 0.8 * head * ux, to[1] - 0.8 * head * uy);
  pen.stroke();
  pen.beginPath();
  pen.moveTo(...to);
  pen.lineTo(to[0] - head * ux + 0.5 * head * uy, to[1] - head * uy - 0.5 * head * ux);
  pen.lineTo(to[0] - head * ux - 0.5 * head * uy, to[1] - head * uy + 0.5 * head * ux);
  pen.fill();
  if (length <= 26) return;
  const [x, y] = [(from[0] + to[0]) / 2 - 12 * uy, (from[1] + to[1]) / 2 + 12 * ux + 4];
  write(pen, label, x, y, theme, "center");
}

/** Write a text that is readable on whatever is below it. */
function write(pen, text, x, y, theme, align = "left") {
  pen.font = `600 12px ${theme.font}`;
  pen.textAlign = align;
  pen.lineJoin = "round";
  pen.lineWidth = 3.5;
  pen.strokeStyle = theme.ground;
  pen.strokeText(text, x, y);
  pen.fillStyle = theme.ink;
  pen.fillText(text, x, y);
}
