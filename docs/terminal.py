"""Pictures of the terminal: real commands on a terminal of their own, as a page that Chromium can show."""

import asyncio
import fcntl
import io
import os
import signal
import struct
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #0d1117; }}
pre {{ font: 13px/1.45 "DejaVu Sans Mono", monospace; color: #d9d9d9; padding: 18px 22px; margin: 0;
  display: inline-block; will-change: transform; }}
{stylesheet}
</style><pre>{code}</pre>"""


class Size(msgspec.Struct, frozen=True):
    """Of a terminal, in characters."""

    columns: int
    lines: int


async def recorded(
    words: list[str], environ: Mapping[str, str], size: Size, seconds: float, folder: Path | None = None
) -> str:
    """What a command writes to a terminal until it ends, or is ended after so many seconds."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate", *words),
        env={**environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
    )
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(_read, ours))
    try:
        async with asyncio.timeout(seconds):
            await child.wait()
    except TimeoutError:
        child.send_signal(signal.SIGINT)
        await child.wait()
    said = await reading
    os.close(ours)
    return said


def _read(terminal: int) -> str:
    said = b""
    try:
        while chunk := os.read(terminal, 65536):
            said += chunk
    except OSError:  # what a terminal says when nobody writes to it any more
        pass
    return said.decode(errors="replace").replace("\r\n", "\n")


def last_screen(said: str) -> str:
    """Of a screen that is drawn again and again from its first line: the last one that was whole."""
    drawn = said.partition("\x1b[?1049l")[0].split("\x1b[H")
    return next(screen for screen in reversed(drawn) if screen.strip())


def last_drawn(said: str) -> str:
    """Of lines that are drawn over themselves: the last that were whole."""
    return said.partition("\x1b[?25h")[0].rpartition("\x1b[2K")[2]


def page(typed: str, said: str, size: Size) -> str:
    """HTML of a prompt with what was typed, and what was said in its colours."""
    console = Console(record=True, width=size.columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bright_black"), (typed, "bold")), soft_wrap=True)
    for line in AnsiDecoder().decode(said.rstrip()):
        console.print(line, soft_wrap=True)
    return console.export_html(theme=MONOKAI, code_format=_PAGE)
