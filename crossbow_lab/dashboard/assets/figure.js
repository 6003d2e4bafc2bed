// Plotly's description of a plot: pure functions.

const HEIGHT = 230;
const MOST_MARKERS = 60; // more of them hide the line

/** Return which lines have a label at their end: few, and only where nothing else stands on the right. */
function endLabels(plot) {
  if (plot.kind !== "series" || plot.lines.some((line) => line.axis === "right")) return [];
  const strong = plot.lines.map((_, index) => index).filter((index) => !plot.lines[index].faint);
  return strong.length <= 6 ? strong : [];
}

/** Return a line's name where there is little room. */
function shortName(line) {
  return line.label.split(",")[0].slice(0, 14);
}

/** Return whether labels at lines' ends bear names: a line alone is named by its plot. */
function hasNames(plot) {
  return endLabels(plot).length > 1 || plot.target_line;
}

/**
 * Return the margins of all plots: the same, so that what happened at one time stands at one place, and dependent on
 * nothing that changes, so that no number makes a plot jump.
 */
function marginsOf(plots) {
  const rights = plots.map((plot) => {
    if (plot.lines.some((line) => line.axis === "right")) return 56;
    const names = hasNames(plot) ? endLabels(plot).map((index) => shortName(plot.lines[index]).length) : [];
    return endLabels(plot).length ? 12 + 6.4 * Math.max(7, ...names) : 14;
  });
  return { l: 66, r: Math.max(...rights), t: 20, b: 40 };
}

function axisOf(theme, isEmpty) {
  const tickfont = { color: isEmpty ? "rgba(0,0,0,0)" : theme.quiet }; // there, so that the plot has its size
  return { zeroline: false, automargin: false, color: theme.quiet, gridcolor: theme.grid, tickfont };
}

/** Return the title of a y axis, at a fixed place: plotly's own would move with the width of the numbers. */
function sideTitle(text, theme, isRight) {
  const place = { xref: "paper", yref: "paper", x: isRight ? 1 : 0, y: 0.5, xshift: isRight ? 46 : -54 };
  const anchor = { xanchor: "center", yanchor: "middle", textangle: -90, showarrow: false };
  return { ...place, ...anchor, text, font: { size: 11.5, color: theme.quiet } };
}

/** Return the layout of a plot in a view. */
function layoutOf(plot, view, width, { xTitle, isEmpty, x, y, y2 }) {
  const { theme } = view;
  const axis = axisOf(theme, isEmpty);
  const title = { text: xTitle, standoff: 6, font: { size: 11.5, color: theme.quiet } };
  const line = { showline: true, linecolor: theme.axis, tickcolor: isEmpty ? "rgba(0,0,0,0)" : theme.axis };
  const below = { ...line, title, showgrid: false, ticks: "outside", ticklen: 4, nticks: 8, range: [...x] };
  const spike = { spikecolor: theme.axis, spikethickness: 1, spikedash: "solid" };
  const beside = { nticks: 6, ticklabelstandoff: 4, range: [...y] };
  if (plot.y_percent) beside.tickformat = ".2~%";
  const layout = {
    width,
    height: HEIGHT,
    margin: view.margins,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: theme.font, size: 11, color: theme.ink },
    showlegend: false,
    hovermode: plot.lines.length > 6 || plot.kind === "points" ? "closest" : "x unified",
    hoverlabel: { bgcolor: theme.ground, bordercolor: theme.axis, font: { color: theme.ink, size: 11 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.axis, activecolor: theme.ink },
    xaxis: { ...axis, ...below, ...spike },
    yaxis: { ...axis, ...beside },
    annotations: [sideTitle(plot.y_title, theme, false)],
  };
  if (plot.lines.some((line) => line.axis === "right")) {
    const right = { overlaying: "y", side: "right", showgrid: false, ticklabelstandoff: 4, nticks: 6 };
    layout.yaxis2 = { ...axis, ...right, range: [...y2] };
    layout.annotations.push(sideTitle(plot.y2_title, theme, true));
  }
  return layout;
}

/** Tell whether a line's points are shown, and not only the line. */
function hasMarkers(line, points) {
  return line.mode === "markers" || (line.mode === "lines+markers" && points.x.length <= MOST_MARKERS);
}

/** Return the trace of a line with its points {x, y}. */
function traceOf(plot, index, theme, points, isHidden) {
  const line = plot.lines[index];
  const isLearner = plot.kind === "per_learner";
  const isPercent = plot.y_percent && line.axis === "left";
  const colour = colourOf(plot, index, theme);
  return {
    ...points,
    type: "scatter",
    mode: hasMarkers(line, points) ? line.mode : "lines",
    name: fullName(plot, line),
    yaxis: line.axis === "right" ? "y2" : "y",
    line: { color: colour, width: line.faint || isLearner ? 1 : 1.6, dash: line.dash },
    marker: { color: colour, size: 5 },
    opacity: line.faint ? 0.4 : isLearner ? 0.85 : 1,
    visible: !isHidden,
    hovertemplate: `%{y:${isPercent ? ".2%" : ",.4~r"}}`,
  };
}

/** Return a line's name where nothing says what it is of. */
function fullName(plot, line) {
  return plot.kind === "per_learner" && /^\d+$/.test(line.label) ? `learner ${line.label}` : line.label;
}

/** Return the smallest and largest y of lines, as [low, high]; [Infinity, -Infinity] of nothing. */
function boundsOf(lines, isIncluded) {
  let [low, high] = [Infinity, -Infinity];
  lines.forEach(({ y }, index) => {
    if (!isIncluded(index)) return;
    for (const value of y) {
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  });
  return [low, high];
}

/** Return bounds with room around them. */
function withRoom([low, high], { fromZero, isPercent }) {
  if (low > high) return [0, 1];
  if (fromZero) low = Math.min(0, low);
  const room = 0.08 * (high - low) || (isPercent ? 0.2 : 0.05 * Math.abs(high)) || 1;
  const top = isPercent && high <= 1 ? Math.min(high + room, 1 + 0.03 * (1 - low) + 0.002) : high + room;
  return [fromZero && low === 0 ? 0 : low - room, top];
}

/** Export a plot as a picture that stands alone: with its title, legend and marks, on white paper. */
function exportPicture(Plotly, gd, plot, marks) {
  const layout = structuredClone(gd.layout);
  const ink = "#333333";
  for (const axis of [layout.xaxis, layout.yaxis, layout.yaxis2]) {
    const look = { color: ink, tickfont: { color: ink }, gridcolor: "#eeeeee", linecolor: ink, tickcolor: ink };
    if (axis) Object.assign(axis, look, { title: { ...axis.title, font: { color: ink, size: 13 } } });
  }
  const lines = marks.map(({ x }) => markLine(x));
  const labels = marks.map(({ x, text }) => markLabel(x, text));
  Object.assign(layout, {
    paper_bgcolor: "white",
    plot_bgcolor: "white",
    font: { color: ink, size: 12 },
    title: { text: plot.title, font: { size: 15 } },
    showlegend: gd.data.length > 1,
    margin: { ...layout.margin, t: 44 },
    shapes: [...(layout.shapes ?? []), ...lines],
    annotations: [...layout.annotations.map((text) => ({ ...text, font: { ...text.font, color: ink } })), ...labels],
  });
  const data = gd.data.map((trace, index) => {
    if (!plot.lines[index]) return trace;
    const color = colourOf(plot, index, { isDark: false });
    return { ...trace, line: { ...trace.line, color }, marker: { ...trace.marker, color } };
  });
  const filename = plot.title.toLowerCase().replace(/\W+/g, "_");
  return Plotly.downloadImage({ data, layout }, { format: "png", width: 800, height: 420, scale: 2, filename });
}

function markLine(x) {
  const line = { color: "#999999", width: 1, dash: "dot" };
  return { type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line };
}

function markLabel(x, text) {
  const place = { x, xref: "x", y: 1, yref: "paper", xanchor: "left", yanchor: "top" };
  return { ...place, text, textangle: -90, showarrow: false, font: { size: 9 } };
}

/** Return plotly's configuration: few buttons; a double click is ours. */
function configOf(Plotly, plot) {
  const button = (name, title, icon, click) => ({ name, title, icon: Plotly.Icons[icon], click });
  const all = button("all", "Show all (or double click)", "home", () => plot.showAll());
  const picture = button("picture", "Save as PNG", "camera", () => plot.export());
  const modeBarButtons = [["zoom2d", "pan2d", all, picture]];
  return { displaylogo: false, displayModeBar: "hover", doubleClick: false, showTips: false, modeBarButtons };
}
