"""Tracebacks for the author of a function: from the function's own frame on."""

import importlib
from pathlib import Path
from types import TracebackType
from typing import Final

__all__ = ("trace_of_function",)

_OURS: Final = (str(Path(__file__).parent), importlib.__file__, "<frozen importlib")


def trace_of_function(error: BaseException) -> TracebackType | None:
    """Return an error's traceback without our own frames at its beginning.

    An error raised in our own frames keeps its whole traceback.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace or error.__traceback__
