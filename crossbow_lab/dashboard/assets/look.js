// Colours, theme and numbers.

const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"]; // Okabe and Ito's
const ON_DARK = {
  "#0072B2": "#4FA8DF",
  "#D55E00": "#F08843",
  "#009E73": "#2FC49A",
  "#CC79A7": "#DE9CC2",
  "#7F7F7F": "#A6A6A6",
};

/** Return the theme's colours and font, from JupyterLab's variables or from what the board inherits. */
function themeOf(element) {
  const style = getComputedStyle(element);
  const get = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  const [red, green, blue] = (style.color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  const isDark = 0.299 * red + 0.587 * green + 0.114 * blue > 128;
  return {
    isDark,
    ink: get("--jp-ui-font-color1", style.color),
    quiet: get("--jp-ui-font-color2", style.color),
    grid: isDark ? "rgba(255,255,255,0.09)" : "rgba(0,0,0,0.07)",
    axis: isDark ? "rgba(255,255,255,0.3)" : "rgba(0,0,0,0.3)",
    ground: get("--jp-layout-color0", isDark ? "#111" : "#fff"),
    font: get("--jp-ui-font-family", style.fontFamily),
  };
}

/** Return a colour as it is readable on the theme's ground. */
function onGround(colour, theme) {
  const known = colour.toUpperCase();
  return theme.isDark ? (ON_DARK[known] ?? known) : known;
}

/**
 * Return the colour of a plot's line: the one it has, or its place's among those that have none. Of learners, the
 * second seven are paler and the third stronger, and so on.
 */
function colourOf(plot, index, theme) {
  const place = plot.lines.slice(0, index).filter((line) => line.colour === null).length;
  const shown = onGround(plot.lines[index].colour ?? PALETTE[place % PALETTE.length], theme);
  const shade = plot.kind === "per_learner" ? Math.floor(place / PALETTE.length) % 3 : 0;
  return shade ? mixed(shown, (shade === 1) === theme.isDark ? 0 : 255, 0.4) : shown;
}

/** Return "#RRGGBB", mixed with a share of a grey. */
function mixed(colour, grey, share) {
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `rgb(${parts.map((part) => Math.round(part * (1 - share) + grey * share)).join()})`;
}

/** Return a number in few characters. */
function brief(value, isPercent) {
  if (value === null || !Number.isFinite(value)) return "";
  if (isPercent) return `${(100 * value).toFixed(1)}%`;
  const size = Math.abs(value);
  if (size >= 99950) return `${(value / 1000).toFixed(0)}k`;
  if (size >= 9995) return `${(value / 1000).toFixed(1)}k`;
  if (size >= 100) return value.toFixed(0);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return value.toPrecision(3);
}

const X_TITLES = { iteration: "iteration", epoch: "epoch", samples: "samples", elapsed_s: "training time (s)" };
const X_LABELS = { iteration: "iteration", epoch: "epoch", samples: "samples", elapsed_s: "time" };

/** Return a new element with a class, inside a parent. */
function made(tag, className, parent) {
  const element = document.createElement(tag);
  element.className = className;
  if (tag === "button") element.type = "button";
  parent?.append(element);
  return element;
}
