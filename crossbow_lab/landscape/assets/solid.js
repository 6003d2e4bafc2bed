// The surface from aside, in 3-D, on a canvas: needs no WebGL, and the surface is only drawn again when it is turned.

const QUADS = 44; // a side
const HEIGHT_SHARE = 0.75;

class Solid {
  constructor(stage) {
    this.stage = stage;
    this.turn = -0.6; // radians
    this.tilt = 0.62;
    this.drawn = "";
    this.ground = document.createElement("canvas");
  }

  rotate(turn, tilt) {
    this.turn += turn;
    this.tilt = Math.min(1.5, Math.max(0.1, this.tilt + tilt));
  }

  /** Return what turns a point and its height (0..1) into [pixels across, pixels down, nearness]. */
  projection() {
    const { width, height, window: [x, y] } = this.stage;
    const [ct, st, cv, sv] = [Math.cos(this.turn), Math.sin(this.turn), Math.cos(this.tilt), Math.sin(this.tilt)];
    const size = 0.56 * Math.min(width / 2, height / 1.5);
    return (a, b, h) => {
      const u = 2 * ((a - x[0]) / (x[1] - x[0])) - 1;
      const v = 2 * ((b - y[0]) / (y[1] - y[0])) - 1;
      const [across, along] = [u * ct - v * st, u * st + v * ct];
      const up = 2 * HEIGHT_SHARE * (h - 0.5);
      return [width / 2 + size * across, 0.47 * height - size * (along * sv + up * cv), along * cv - up * sv];
    };
  }

  heightOf(shade) {
    const { least, most } = this.stage.whole;
    return Number.isFinite(shade) ? Math.min(1, Math.max(0, (shade - least) / (most - least || 1))) : 1;
  }

  /** Return what turns a point of the surface into pixels. */
  toPixels() {
    const project = this.projection();
    const { grid, window: [x, y] } = this.stage;
    return ([a, b]) => {
      if (!(a >= x[0] && a <= x[1] && b >= y[0] && b <= y[1])) return [NaN, NaN];
      const [px, py] = project(a, b, this.heightOf(grid.shadeAt(a, b)));
      return [px, py - 2];
    };
  }

  draw(pen) {
    const { width, height } = this.stage;
    const isNew = this.drawGround();
    pen.drawImage(this.ground, 0, 0, width, height);
    drawMoment(pen, this.stage, this.toPixels());
    return isNew ? "full" : "fast";
  }

  drawGround() {
    const { stage } = this;
    const { theme, version, window: range, width, height } = stage;
    const key = JSON.stringify([theme, version, range, width, height, this.turn, this.tilt]);
    if (key === this.drawn) return false;
    this.drawn = key;
    const scale = devicePixelRatio || 1;
    Object.assign(this.ground, { width: stage.width * scale, height: stage.height * scale });
    const pen = this.ground.getContext("2d");
    pen.scale(scale, scale);
    for (const quad of this.quads()) {
      pen.fillStyle = pen.strokeStyle = quad.colour;
      pen.lineWidth = 0.7;
      pen.beginPath();
      for (const [px, py] of quad.corners) pen.lineTo(px, py);
      pen.closePath();
      pen.fill();
      if (quad.isLine) pen.strokeStyle = stage.theme.isDark ? "rgba(255,255,255,0.16)" : "rgba(60,75,95,0.22)";
      pen.stroke();
    }
    this.drawAxes(pen);
    return true;
  }

  /** Return the surface's quads, the farthest first. */
  quads() {
    const { stage } = this;
    const project = this.projection();
    const { grid, window: [x, y], theme } = stage;
    const [xs, ys] = [spaced(x, QUADS + 1), spaced(y, QUADS + 1)];
    const heights = ys.map((b) => xs.map((a) => this.heightOf(grid.shadeAt(a, b))));
    const corners = ys.map((b, r) => xs.map((a, c) => project(a, b, heights[r][c])));
    const quads = [];
    for (let r = 0; r < QUADS; r++) {
      for (let c = 0; c < QUADS; c++) {
        const four = [corners[r][c], corners[r][c + 1], corners[r + 1][c + 1], corners[r + 1][c]];
        const slope = QUADS * (heights[r][c + 1] - heights[r][c] + heights[r + 1][c] - heights[r][c]);
        const light = 0.5 + 0.5 * Math.tanh(-0.35 * slope);
        const low = theme.isDark ? 34 : 255;
        const high = theme.isDark ? 96 : 176;
        const shade = low + (high - low) * heights[r][c] + (theme.isDark ? 46 : 34) * (light - 0.5);
        const grey = Math.round(Math.min(255, Math.max(0, shade)));
        const colour = `rgb(${grey - 6},${grey - 2},${Math.min(255, grey + 5)})`;
        quads.push({ corners: four, colour, isLine: true, far: four.reduce((sum, corner) => sum + corner[2], 0) });
      }
    }
    return quads.sort((a, b) => b.far - a.far);
  }

  drawAxes(pen) {
    const project = this.projection();
    const { window: [x, y], theme } = this.stage;
    const name = (text, a, b, h) => write(pen, text, ...project(a, b, h).slice(0, 2), theme, "center");
    const [mx, my] = [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
    const nearX = project(mx, y[0], 0)[2] < project(mx, y[1], 0)[2] ? 0 : 1;
    const nearY = project(x[0], my, 0)[2] < project(x[1], my, 0)[2] ? 0 : 1;
    const out = ([low, high], end) => (end ? high + 0.09 * (high - low) : low - 0.09 * (high - low));
    name("x", mx, out(y, nearX), 0);
    name("y", out(x, nearY), my, 0);
    for (const end of [0, 1]) {
      name(String(+x[end].toPrecision(3)), x[end], out(y, nearX), 0);
      name(String(+y[end].toPrecision(3)), out(x, nearY), y[end], 0);
    }
    write(pen, "height: loss, high ones compressed", 8, 18, theme);
  }
}
