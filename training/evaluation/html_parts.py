"""Pieces of the report's HTML; everything from outside goes through `text`."""

import html
from collections.abc import Iterable

from aura_model.intervals import Interval
from aura_model.logging import printable


def show(value: float | None) -> str:
    """A figure in three digits; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def show_range(interval: Interval) -> str:
    """From where to where; empty where that is not known."""
    return "" if interval.low is None else f"{show(interval.low)} to {show(interval.high)}"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def text(value: object) -> str:
    """Safe in an element and in a quoted attribute; control and direction characters are shown as escapes."""
    return html.escape(printable(str(value)))


def table(head: str, rows: Iterable[str], kind: str = "") -> str:
    """A table of a header and rows, of a class of the style sheet; wide ones scroll."""
    return (
        f'<div class="scroll"><table class="{kind}"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def header(*names: str, numbers: int = 0) -> str:
    """A row of column names, the last `numbers` of them over numbers."""
    first = len(names) - numbers
    cells = (f"<th{' class=number' if place >= first else ''}>{text(name)}</th>" for place, name in enumerate(names))
    return f"<tr>{''.join(cells)}</tr>"
