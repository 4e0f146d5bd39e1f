"""Single keys of a terminal while a screen is shown, and its changes of size."""

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

#: What people leave a screen with: q, Q and the key of escape, and the end of the input.
LEAVE = (b"q", b"Q", b"\x1b", b"\x04")


class Keyboard:
    """`left` is set once somebody wants to go, `stirred` with every key and change of size."""

    def __init__(self) -> None:
        self.left = False
        self.stirred = asyncio.Event()

    def pressed(self) -> None:
        key = os.read(sys.stdin.fileno(), 64)
        self.left = self.left or not key or key in LEAVE
        self.stirred.set()

    async def pause(self, seconds: float) -> None:
        """Until then, or until something stirs."""
        self.stirred.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.stirred.wait()
        except TimeoutError:
            return


@contextmanager
def keys() -> Iterator[Keyboard]:
    """Keys are read one by one and not shown; afterwards the terminal is as it was."""
    board = Keyboard()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, board.stirred.set)
    before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
    try:
        if before is not None:
            # What was typed before this began counts, too.
            tty.setcbreak(sys.stdin, termios.TCSANOW)
            loop.add_reader(sys.stdin, board.pressed)
        yield board
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        if before is not None:
            loop.remove_reader(sys.stdin)
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
