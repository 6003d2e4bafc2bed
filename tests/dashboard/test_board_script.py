"""The board's JavaScript, run by Node where there is one: its tables do what the kernel's do."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from crossbow_lab.dashboard import board
from crossbow_lab.dashboard.board import script
from crossbow_lab.dashboard.columns import Columns

ASSETS = Path(board.__file__).parent / "assets"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs Node; the browser tests cover what this does")


def source() -> str:
    """Return the JavaScript as the page unpacks it."""
    packed = re.search(r'atob\("([^"]+)"\)', script())
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def run_by_node(code: str) -> object:
    """Return the JSON value that code prints, which may use the board's functions and classes."""
    program = source().replace("export default () =>", "const widget = () =>")
    done = subprocess.run(
        [NODE, "--input-type=module"], input=f"{program}\n{code}", capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_notebooks_are_saved_with_a_small_script():
    """Two dashboards and their controls stay below 100 kB."""
    assert len(script()) < 30_000


def test_files_and_functions_are_small_enough_to_be_read():
    """As those in Python are."""
    paths = [*ASSETS.glob("*.js"), *(ASSETS.parent.parent / "landscape" / "assets").glob("*.js")]
    assert len(paths) > 12
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 400
        assert max(map(len, lines)) <= 120
        opened = [(i, line) for i, line in enumerate(lines) if re.match(r"( {2})?(?!class )[\w.].*\{$", line)]
        for i, line in opened:
            indent = len(line) - len(line.lstrip())
            last = next(j for j in range(i, len(lines)) if re.match(rf" {{{indent}}}\}}", lines[j]))
            assert last - i < 50, f"{path.name}: {line}"


@needs_node
@pytest.mark.parametrize("n", [100, 40_000])
def test_the_browser_thins_as_the_kernel_does(n):
    """The same rows come out, to the bit."""
    values = np.random.default_rng(1).random(n, dtype=np.float32)
    x = np.arange(n, dtype=np.float32)
    table = Columns(5, newest=1_000, older=400)
    for start in range(0, n, 50):
        table.append(np.array([x, x, x, x, values], np.float32)[:, start : start + 50])
    code = f"""
        const values = Float32Array.from({json.dumps(values.tolist())});
        const x = Float32Array.from(values, (_, i) => i);
        const table = new Table(5);
        Object.assign(table, {{ newest: 1000, older: 400 }});
        for (let i = 0; i < {n}; i += 50) table.append([x, x, x, x, values].map((c) => c.subarray(i, i + 50)), 0);
        console.log(JSON.stringify([0, 4].map((i) => [...table.columns[i].subarray(0, table.filled)])));
    """
    there = np.array(run_by_node(code), np.float32)

    np.testing.assert_array_equal(there, table.everything()[[0, 4]])


@needs_node
def test_a_line_has_few_points_with_every_extreme_and_both_ends():
    """Of all rows, and of those in a range; gaps stay gaps."""
    code = """
        const n = 20000;
        const x = Float32Array.from({ length: n }, (_, i) => i);
        const y = Float32Array.from(x, (i) => Math.sin(i / 900));
        [y[5001], y[15001]] = [9, -9];
        y.fill(NaN, 8000, 12000);
        const table = new Table(5);
        table.append([x, x, x, x, y], 0);
        const all = table.line(4, 0, null, 500);
        const some = table.line(4, 0, [5000, 5100], 500);
        console.log(JSON.stringify({ all, some, none: new Table(5).line(4, 0, null, 500) }));
    """
    found = run_by_node(code)
    all_y = [y for y in found["all"]["y"] if y is not None]

    assert 250 <= len(found["all"]["x"]) <= 510
    assert (max(all_y), min(all_y)) == (9, -9)
    assert (found["all"]["x"][0], found["all"]["x"][-1]) == (0, 19_999)
    assert None in found["all"]["y"]
    assert (found["some"]["x"][0], found["some"]["x"][-1], max(found["some"]["y"])) == (5_000, 5_101, 9)
    assert found["none"] == {"x": [], "y": []}


@needs_node
def test_a_history_takes_what_it_lacks_and_knows_what_it_misses():
    """Rows that overlap are taken once; rows after a gap wait for the whole; another generation begins anew."""
    code = """
        const rows = (from, to) => new DataView(Float32Array.from({ length: 5 * (to - from) }, (_, i) =>
            from + (i % (to - from))).buffer);
        const history = new History({ tables: { t: ["a"] } });
        const take = (generation, from, to, kind = "rows") =>
            [history.take({ generation, parts: [["t", from, to, kind]] }, [rows(from, to)]), history.rows];
        const steps = [take(0, 0, 4), take(0, 2, 6), take(0, 8, 9), take(0, 0, 9, "all"), take(0, 5, 9), take(1, 0, 1),
            take(0, 9, 10)];
        console.log(JSON.stringify({ steps, last: history.tables.t.columns[4][0] }));
    """
    found = run_by_node(code)

    assert found["steps"] == [[False, 4], [False, 6], [True, 6], [False, 9], [False, 9], [False, 1], [False, 1]]
    assert found["last"] == 0
