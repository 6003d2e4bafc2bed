"""The kernels' sources, made whole: what NVRTC compiles needs no file of ours beside it.

CuPy caches what it compiled under the source text and the options. A header that NVRTC would read from disk is in
neither, so after an edit of the header the old machine code would run. Pasting it in settles that.
"""

from functools import cache

from crossbow_lab.errors import KernelError
from crossbow_lab.resources import resource

_HEADER = "lanes.cuh"
_INCLUDE = f'#include "{_HEADER}"'


@cache
def source(file: str) -> str:
    """Return the text of ``cuda/FILE`` with the shared header pasted in.

    ``#line`` directives keep the names and line numbers of the files as they are on disk, so that a compiler's
    messages and a profiler's point there.

    Parameters
    ----------
    file : str
        Name of a file in ``cuda/``, such as ``"sma.cu"``.

    Raises
    ------
    KernelError
        If the file is not in this installation.
    """
    text = [f'#line 1 "{file}"']
    for number, line in enumerate(_read(file).splitlines(), start=1):
        if line.strip() == _INCLUDE:
            text += [f'#line 1 "{_HEADER}"', *_read(_HEADER).splitlines(), f'#line {number + 1} "{file}"']
        else:
            text.append(line)
    return "\n".join(text) + "\n"


def _read(file: str) -> str:
    """Return the text of a file in cuda/."""
    try:
        return resource("cuda", file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KernelError(f"the source of a CUDA kernel is not there: {error}") from None
