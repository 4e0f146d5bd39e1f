"""Tables that fit the terminal: short columns are never broken, long texts wrap, and at worst rows stack."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

#: Between columns: the first with which they fit.
GAPS = (2, 1)
#: A column of no longer texts is never broken; a longer one is not made narrower than `NARROWEST`.
SHORT, NARROWEST = 14, 12


def drawn(columns: Sequence[str], rows: Sequence[Sequence[Text]], width: int | None = None) -> RenderableType:
    """Rows below their names. A column that is empty in all rows is left out."""
    width = width or Console().width
    kept = [at for at in range(len(columns)) if any(row[at].plain for row in rows)]
    names = [columns[at] for at in kept]
    cells = [[row[at] for at in kept] for row in rows]
    widths = [max(row[at].cell_len for row in cells) for at in range(len(kept))]
    # A name is broken between its words where what it names is shorter.
    heads = [
        name.replace(" ", "\n") if len(name) > wide else name
        for name, wide in zip(names, widths, strict=True)
    ]
    whole = [max(wide, _width(head)) for wide, head in zip(widths, heads, strict=True)]
    least = sum(wide if wide <= SHORT else NARROWEST for wide in whole)
    gap = next((gap for gap in GAPS if least + gap * (len(whole) - 1) <= width), None)
    if gap is None:
        return _stacked(names, cells)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0))
    for head, wide in zip(heads, whole, strict=True):
        short = wide <= SHORT
        table.add_column(head, no_wrap=short, overflow="fold", min_width=wide if short else NARROWEST)
    for row in cells:
        table.add_row(*row)
    return table


def pairs(rows: Sequence[tuple[Text, Text]]) -> RenderableType:
    """Names in bold, and what they stand for."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAPS[0], 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _stacked(names: Sequence[str], rows: Sequence[Sequence[Text]]) -> RenderableType:
    parts: list[RenderableType] = []
    for row in rows:
        found = [(Text(name), cell) for name, cell in zip(names, row, strict=True) if cell.plain]
        parts += [*([""] if parts else []), pairs(found)]
    return Group(*parts)


def _width(head: str) -> int:
    return max(len(line) for line in head.split("\n"))
