// The surface from above: contours by plotly, drawn seldom; what moves on a canvas over them, in every frame.

const RECENT = 16; // iterations of z that are drawn strong
const MARGIN = { l: 48, r: 14, t: 10, b: 36 };

/** Return plotly's colour scale of a surface: low is pale, or dark in the dark. */
function scaleOf(theme) {
  return theme.isDark ? [[0, "#171B21"], [1, "#59636F"]] : [[0, "#FFFFFF"], [1, "#AEB6C2"]];
}

class Flat {
  constructor(stage) {
    this.stage = stage;
    this.plot = made("div", "cbl-contours", stage.box);
    this.drawn = "";
  }

  /** Return the window's edges in pixels. */
  frame() {
    const { width, height } = this.stage;
    const [right, bottom] = [width - MARGIN.r, height - MARGIN.b];
    return { left: MARGIN.l, right, top: MARGIN.t, bottom, width: right - MARGIN.l, height: bottom - MARGIN.t };
  }

  /** Return what turns a point of the surface into pixels. */
  toPixels() {
    const [x, y] = this.stage.window;
    const { left, bottom, width, height } = this.frame();
    return ([a, b]) => [left + ((a - x[0]) / (x[1] - x[0])) * width, bottom - ((b - y[0]) / (y[1] - y[0])) * height];
  }

  /** Return the point of the surface at pixels; null outside of the window. */
  pointAt(px, py) {
    const [x, y] = this.stage.window;
    const { left, right, top, bottom, width, height } = this.frame();
    if (px < left || px > right || py < top || py > bottom) return null;
    return [x[0] + ((px - left) / width) * (x[1] - x[0]), y[0] + ((bottom - py) / height) * (y[1] - y[0])];
  }

  drawGround() {
    const { stage } = this;
    const { theme, grid, window: range, width, height, version } = stage;
    const key = JSON.stringify([theme, version, range, width, height]);
    if (key === this.drawn) return false;
    this.drawn = key;
    const [x, y] = [spaced(grid.x, grid.n), spaced(grid.y, grid.n)];
    const line = { color: theme.isDark ? "rgba(255,255,255,0.22)" : "rgba(60,75,95,0.4)", width: 0.8 };
    const look = { type: "contour", colorscale: scaleOf(theme), showscale: false, hoverinfo: "skip", line };
    const contours = { start: grid.least, end: grid.most, size: (grid.most - grid.least || 1) / 13 };
    const trace = { ...look, x, y, z: grid.rows(), autocontour: false, contours, zmin: grid.least, zmax: grid.most };
    const fixed = { zeroline: false, showgrid: false, fixedrange: true, nticks: 7, automargin: false };
    const axis = { ...fixed, color: theme.quiet };
    const title = (text) => ({ text, standoff: 4, font: { size: 12, color: theme.quiet } });
    const ground = "rgba(0,0,0,0)";
    const layout = {
      width, height, margin: MARGIN, paper_bgcolor: ground, plot_bgcolor: ground, showlegend: false,
      font: { family: theme.font, size: 11.5, color: theme.ink },
      xaxis: { ...axis, range: [...range[0]], title: title("x") },
      yaxis: { ...axis, range: [...range[1]], title: title("y") },
    };
    stage.Plotly.react(this.plot, [trace], layout, { displayModeBar: false, staticPlot: true });
    return true;
  }

  draw(pen) {
    const isNew = this.drawGround();
    const { left, top, width, height } = this.frame();
    pen.save();
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    drawMoment(pen, this.stage, this.toPixels());
    pen.restore();
    return isNew ? "full" : "fast";
  }
}

/** Draw a moment, from above or from aside: `place` turns points of the surface into pixels. */
function drawMoment(pen, stage, place) {
  const { moment, theme, scene } = stage;
  const { parts } = moment;
  const colour = onGround(moment.colour, theme);
  for (const minimum of scene.minima) cross(pen, place(minimum), theme);
  ring(pen, place(moment.start), theme);
  drawTrails(pen, parts.trails, moment.trail_length, place, colour, moment.k);
  drawLine(pen, parts.means.subarray(-2 * RECENT), place, theme.quiet, 1.4, 0.9, [4, 3]);
  drawLine(pen, parts.centres, place, theme.ink, 1.4, 0.45);
  drawLine(pen, parts.centres.subarray(-2 * RECENT), place, theme.ink, 2.4, 0.95);
  drawLearners(pen, stage, place, colour);
  drawStars(pen, stage, place);
  const shown = shownLearners(moment, stage.followed());
  if (stage.showsArrows) {
    for (const { from, to, colour: ink, label } of arrowsOf(moment, shown)) {
      drawArrow(pen, place(from), place(to), ink, label, theme);
    }
  }
}

function drawLine(pen, points, place, colour, width, opacity, dash = []) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.globalAlpha = opacity;
  pen.setLineDash(dash);
  pen.beginPath();
  let isOn = false;
  for (let i = 0; i < points.length; i += 2) {
    const [x, y] = place([points[i], points[i + 1]]);
    if (!(Math.abs(x) < 1e5 && Math.abs(y) < 1e5)) isOn = false;
    else if (isOn) pen.lineTo(x, y);
    else {
      pen.moveTo(x, y);
      isOn = true;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function drawTrails(pen, trails, length, place, colour, k) {
  if (!length) return;
  const [width, opacity] = k <= 16 ? [1.5, 0.6] : [1, k <= 200 ? 0.35 : 0.15];
  const parts = [[0, 0.25], [Math.floor(length / 2), 0.5], [Math.max(0, length - 8), 1]]; // the older, the paler
  for (let from = 0; from < trails.length; from += 2 * length) {
    parts.forEach(([first, share], part) => {
      const last = parts[part + 1]?.[0] ?? length - 1;
      const points = trails.subarray(from + 2 * first, from + 2 * last + 2);
      drawLine(pen, points, place, colour, width, share * opacity);
    });
  }
}

function drawLearners(pen, stage, place, colour) {
  const { parts, k } = stage.moment;
  const size = k <= 16 ? 5 : k <= 200 ? 3.5 : k <= 2000 ? 2.4 : 1.8;
  const followed = stage.followed();
  pen.fillStyle = colour;
  pen.globalAlpha = k <= 200 ? 1 : 0.7;
  for (let j = 0; j < k; j++) {
    const [x, y] = place(pair(parts.learners, j));
    if (size < 3) pen.fillRect(x - size / 2, y - size / 2, size, size);
    else disc(pen, x, y, size, stage.theme.ground);
    if (j !== followed) continue;
    pen.globalAlpha = 1;
    ring(pen, [x, y], stage.theme, "", size + 4);
    pen.fillStyle = colour;
    pen.globalAlpha = k <= 200 ? 1 : 0.7;
  }
  pen.globalAlpha = 1;
  if (k > 8) return;
  for (let j = 0; j < k; j++) {
    const [x, y] = place(pair(parts.learners, j));
    write(pen, String(j + 1), x + 7, y - 6, stage.theme);
  }
}

/** Draw the learners' mean and z with their names. */
function drawStars(pen, stage, place) {
  const { theme, moment } = stage;
  const [mx, my] = place(pair(moment.parts.mean, 0));
  pen.strokeStyle = theme.quiet;
  pen.fillStyle = theme.ground;
  pen.lineWidth = 2;
  pen.beginPath();
  for (const [dx, dy] of [[0, -7], [7, 0], [0, 7], [-7, 0]]) pen.lineTo(mx + dx, my + dy);
  pen.closePath();
  pen.fill();
  pen.stroke();
  const [x, y] = place(pair(moment.parts.centre, 0));
  pen.fillStyle = theme.ink;
  disc(pen, x, y, 7, theme.ground);
  const isClose = Math.hypot(mx - x, my - y) < 26;
  write(pen, "z", x - 11, y - 8, theme, "right");
  write(pen, "mean", mx + (isClose ? -11 : 11), my + (isClose ? 19 : 5), theme, isClose ? "right" : "left");
}

function disc(pen, x, y, radius, edge) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
  pen.strokeStyle = edge;
  pen.lineWidth = 1;
  pen.stroke();
}

function ring(pen, [x, y], theme, name = "start", radius = 8) {
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1.6;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.stroke();
  if (name) write(pen, name, x, y + 22, theme, "center");
}

function cross(pen, [x, y], theme) {
  pen.strokeStyle = theme.quiet;
  pen.lineWidth = 2;
  pen.beginPath();
  for (const [dx, dy] of [[5, 5], [5, -5]]) {
    pen.moveTo(x - dx, y - dy);
    pen.lineTo(x + dx, y + dy);
  }
  pen.stroke();
}
