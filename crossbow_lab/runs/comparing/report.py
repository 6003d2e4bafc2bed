"""A comparison as files: one HTML page that needs no network, and text."""

import html
import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import crossbow_lab
from crossbow_lab.errors import RunError
from crossbow_lab.runs.comparing.outcomes import EPOCHS, SAMPLES_PER_S, SECONDS, Outcome, Result
from crossbow_lab.runs.comparing.statistics import share_reached
from crossbow_lab.runs.comparing.text import (
    METHOD,
    Words,
    differences_table,
    main_table,
    measure_text,
    share_text,
    speed_up_table,
)

if TYPE_CHECKING:
    from crossbow_lab.dashboard.comparison import Group, Measured
    from crossbow_lab.runs.comparing.comparison import Comparison

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 Helvetica, Arial, "DejaVu Sans", sans-serif; color: #333; background: #fff;
  max-width: 1500px; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.6rem; margin: .5rem 0; }} h2 {{ font-size: 1.2rem; margin: 2rem 0 .5rem; }}
p {{ max-width: 75ch; }}
.panels {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 1rem; }}
.panels > div {{ min-width: 0; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #e3e3e3; vertical-align: top; }}
th, td {{ white-space: nowrap; }} td:nth-child(3):last-child {{ white-space: normal; min-width: 20rem; }}
.chips {{ display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }}
.chips span {{ display: inline-block; width: 1.6rem; height: .35rem; margin-right: .4rem; vertical-align: middle; }}
pre {{ overflow-x: auto; background: #f6f6f6; padding: .8rem; font-size: 13px; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


# Drawn once all places are laid out, and again whenever one changes its width: plotly itself only sees the window's.
_SCRIPT = """
for (const [id, figure] of [{plots}]) {{
  const place = document.getElementById(id);
  Plotly.newPlot(place, figure.data, figure.layout, {{displayModeBar: false}});
  new ResizeObserver(() => Plotly.Plots.resize(place)).observe(place);
}}
"""


def groups(comparison: "Comparison") -> "list[Group]":
    """Return a comparison as its figures take it."""
    from crossbow_lab.dashboard.comparison import Group

    made = []
    for result in comparison.results:
        with_history = [outcome for outcome in result.outcomes if outcome.trial.history is not None]
        algorithms = {str(outcome.trial.settings.get("algorithm", "")) for outcome in result.outcomes}
        made.append(
            Group(
                label=result.configuration.label,
                algorithm=algorithms.pop() if len(algorithms) == 1 else "",
                histories=tuple(o.trial.history for o in with_history if o.trial.history is not None),
                reached=tuple(_where(outcome) for outcome in with_history),
                shares=_shares(result),
                measured={_title(comparison, m): _measured(result, m) for m in comparison.measures},
            )
        )
    return made


def write_html(comparison: "Comparison", path: Path) -> Path:
    """Write the report.

    Raises
    ------
    RunError
        If the file can't be written.
    """
    drawn = groups(comparison)
    parts = [
        f"<p>{_text(METHOD)}</p>",
        _table(main_table(comparison)),
        "<h2>Curves</h2><p>Every run is a line; a dot marks where it reached the target. Below, every run is a "
        "dot, and a ring stands on its interval. Where some didn't get there: the share of runs at the target "
        "(Kaplan and Meier).</p>",
        *_figures(comparison, drawn),
    ]
    if len(comparison.speed_ups):
        parts += ["<h2>Speed-ups</h2>", _table(speed_up_table(comparison))]
    if comparison.notes:
        notes = "".join(f"<li>{_text(note)}</li>" for note in comparison.notes)
        parts.append(f"<h2>Notes</h2><ul>{notes}</ul>")
    parts += ["<h2>Every run</h2>", _table(_every_run(comparison)), *_differences(comparison)]
    title = f"Comparison of {len(comparison.runs)} {'run' if len(comparison.runs) == 1 else 'runs'}"
    parts.append(f"<p>crossbow_lab {_text(crossbow_lab.__version__)}</p>")
    return write_text(path, _PAGE.format(title=_text(title), body="\n".join(parts)))


def write_text(path: Path, text: str) -> Path:
    """Write a file: the old one or the whole new one, never half of it.

    Raises
    ------
    RunError
        If it can't be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunError(f"{path} can't be written ({error}); give a path in a folder that is there") from error
    return path


def _figures(comparison: "Comparison", drawn: "Sequence[Group]") -> list[str]:
    """Return every panel as a figure of its own, so that a narrow page stacks them, and what draws them."""
    from plotly.offline import get_plotlyjs

    from crossbow_lab.dashboard import comparison as drawing

    chips = "".join(
        f'<li><span style="background:{colour}"></span>{_text(group.label)}</li>'
        for group, colour in zip(drawn, drawing.colours(drawn), strict=True)
    )
    rows = [
        [drawing.curves(drawn, by, target=comparison.target) for by in drawing.CURVES],
        [drawing.measured(drawn, _title(comparison, measure)) for measure in comparison.measures],
    ]
    if comparison.target is not None and any(r.n_reached < r.n_seeds for r in comparison.results):
        rows.append([drawing.shares(drawn, target=comparison.target)])
    panels: list[str] = []
    plots: list[str] = []
    for row in rows:
        names = [f"figure-{len(plots) + place}" for place in range(len(row))]
        panels.append('<div class="panels">' + "".join(f'<div id="{name}"></div>' for name in names) + "</div>")
        plots += [f'["{name}", {_in_script(figure.to_json())}]' for name, figure in zip(names, row, strict=True)]
    script = _SCRIPT.format(plots=",\n".join(plots))
    return [f'<ul class="chips">{chips}</ul>', *panels, f"<script>{get_plotlyjs()}</script><script>{script}</script>"]


def _differences(comparison: "Comparison") -> list[str]:
    """Return what differs between the runs, and the patch between the first and the last code."""
    if len(comparison.runs) < 2:
        return []
    words = differences_table(comparison.differences)
    parts = ["<h2>Differences</h2>", _table(words) if words.rows else "<p>None is recorded.</p>"]
    patch = comparison.code_patch
    if patch:
        parts.append(f"<details><summary>Code: patch between runs</summary><pre>{_text(patch)}</pre></details>")
    return parts


def _every_run(comparison: "Comparison") -> Words:
    """Return one row per training, with the measured values as they are."""
    rows = []
    for result in comparison.results:
        for outcome in result.outcomes:
            one = Result(result.configuration, (outcome,))
            rows.append(
                (
                    result.configuration.label,
                    "" if outcome.trial.seed is None else str(outcome.trial.seed),
                    *(measure_text(one, measure) for measure in comparison.measures),
                    share_text(outcome.final_accuracy),
                    outcome.trial.status + (", shared its device" if outcome.trial.is_contended else ""),
                    outcome.trial.name,
                )
            )
    names = {SECONDS: "to target", EPOCHS: "epochs to target", SAMPLES_PER_S: "samples/s"}
    header = ("row", "seed", *(names[m] for m in comparison.measures), "accuracy of z", "status", "run")
    return Words("", header, tuple(rows))


def _where(outcome: Outcome) -> dict[str, float]:
    """Return where a training reached the target, by the columns that curves are drawn by."""
    history = outcome.trial.history
    if history is None or not math.isfinite(outcome.seconds_to_target):
        return {}
    row = history[history["elapsed_s"] == outcome.seconds_to_target].iloc[0]
    return {name: float(row[name]) for name in ("elapsed_s", "epoch", "samples")}


def _measured(result: Result, measure: str) -> "Measured":
    """Return one measure of a configuration as a figure takes it: every attempt, and the estimate over seeds."""
    from crossbow_lab.dashboard.comparison import Measured

    estimate, _ = result.headline(measure)
    values = tuple(float(getattr(outcome, measure)) for outcome in result.outcomes)
    known = tuple(value for value in values if not math.isnan(value))
    text = measure_text(result, measure)
    if math.inf in known:
        text = f"{text}, {result.n_reached} of {result.n_seeds}"
    return Measured(known, estimate.value, estimate.low, estimate.high, text)


def _shares(result: Result) -> tuple[tuple[float, float], ...]:
    """Return which share of a configuration's trainings has reached the target by which second, up to their end."""
    ended = [outcome for outcome in result.outcomes if not math.isnan(outcome.trained_s)]
    if not ended:
        return ()
    steps = share_reached([o.seconds_to_target for o in ended], [o.trained_s for o in ended])
    last = max(outcome.trained_s for outcome in ended)
    return ((0.0, 0.0), *steps, (last, steps[-1][1] if steps else 0.0))


def _title(comparison: "Comparison", measure: str) -> str:
    """Return the title of a measure's axis."""
    goal = "" if comparison.target is None else f" to {100 * comparison.target.target:.4g} %"
    return {SECONDS: f"seconds{goal}", EPOCHS: f"epochs{goal}", SAMPLES_PER_S: "samples/s"}[measure]


def _table(words: Words) -> str:
    """Return a table as HTML, its title above it."""
    title = f"<p>{_text(words.title)}</p>" if words.title else ""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in words.header)
    rows = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in words.rows)
    return f'{title}<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _text(text: str) -> str:
    """Return text that HTML shows as it is."""
    return html.escape(text)


def _in_script(text: str) -> str:
    """Return JSON that can't end the script it stands in."""
    return text.replace("<", "\\u003c")
