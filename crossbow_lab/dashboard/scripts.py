"""JavaScript of widgets: several files as one module, small enough to be saved in notebooks."""

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


def packed(paths: Sequence[Path]) -> str:
    """Return files, joined in this order, as one module that unpacks itself: notebooks are saved with it.

    The last has the widget as its default export.
    """
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    shrunk = base64.b64encode(gzip.compress(source.encode(), 9, mtime=0)).decode()
    return f"""const packed = Uint8Array.from(atob("{shrunk}"), (c) => c.charCodeAt(0));
const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const url = URL.createObjectURL(new Blob([await new Response(stream).blob()], {{ type: "text/javascript" }}));
const widget = await import(url);
URL.revokeObjectURL(url);
export default widget.default;
"""
