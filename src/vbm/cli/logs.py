"""Log records on standard error, above the progress bars."""

from __future__ import annotations

import logging

from rich.text import Text

from vbm.cli.failures import debugging
from vbm.cli.output import clean, err


class _ToStandardError(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        err().print(
            Text(f"{record.levelname.lower()}: {clean(record.getMessage())}", style=style), soft_wrap=True
        )


def configure(verbose: int) -> None:
    """Warnings of the product; with ``verbose`` 1 what it does, 2 everything. Others' warnings stay quiet."""
    level = logging.DEBUG if verbose > 1 or debugging() else logging.INFO if verbose else logging.WARNING
    product = logging.getLogger("vbm")
    product.handlers = [_ToStandardError()]
    product.setLevel(level)
    product.propagate = False
