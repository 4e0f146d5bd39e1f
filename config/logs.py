"""How logs are written: one line per event, for people or machines, and never with a secret in it."""

import logging
import re
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TextIO, TypeVar

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.secret import MASK
from config.spellings import SHORTEST, plainer, spellings

MOST_VALUES = 20_000  # the least recently registered are forgotten first
ENCODED_AT_MOST = 3  # times: a URL within a URL within JSON
DEEPEST = 8
QUIET = ("alembic", "arq", "apscheduler", "aiosqlite")  # arq logs the arguments and results of jobs at INFO
T = TypeVar("T")

SECRET_KEY = re.compile(
    r"(authorization|cookie|passw(or)?d|secret|token|(api|admin|secret|private|access)[_-]?key)$",
    re.IGNORECASE,
)
SHAPES = (
    (re.compile(r"(?<=://)[^\s/?#]*@"), f"{MASK}@"),
    (re.compile(r"(/webhooks/)[^\s/?#\"']+"), rf"\1{MASK}"),
    # A digit, a sign or a capital within tells a credential from a word: "basic authentication" stays.
    (re.compile(r"\b((?i:basic|bearer))\s+(?=\S+[0-9A-Z=+_])[\w+/=.~-]{6,}"), rf"\1 {MASK}"),
    (re.compile(r"(authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n,}]+", re.IGNORECASE), rf"\1{MASK}"),
    (
        re.compile(r"([?&][\w-]*(?:token|secret|password|api_?key|signature|sig)=)[^&\s'\"]+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
)


class Redactor:
    """Masks the secrets that are in use, and whatever looks like one, in everything that is logged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[str, frozenset[str]] = OrderedDict()
        # How often each form is needed, and by its first characters how long the forms are: a text is
        # searched in one pass however many secrets there are, also when their starts are all the same.
        self._forms: Counter[str] = Counter()
        self._lengths: dict[str, Counter[int]] = {}

    def register(self, value: str) -> None:
        """Mask `value` from now on, also encoded or escaped in part, and within base64 (a Basic header)."""
        if len(value) < SHORTEST:
            return
        with self._lock:
            if value in self._values:
                self._values.move_to_end(value)
                return
            forms = frozenset(spellings(value))
            self._values[value] = forms
            for form in forms:
                self._forms[form] += 1
                self._lengths.setdefault(form[:SHORTEST], Counter())[len(form)] += 1
            if len(self._values) > MOST_VALUES:
                self._forget()

    def _forget(self) -> None:
        _, forms = self._values.popitem(last=False)
        for form in forms:
            start = form[:SHORTEST]
            _take_one(self._forms, form)
            _take_one(self._lengths[start], len(form))
            if not self._lengths[start]:
                del self._lengths[start]

    def text(self, text: str) -> str:
        """`text` with every known secret, and whatever has the shape of one, as `********`."""
        text = self._without_known(text)
        for shape, masked in SHAPES:
            text = shape.sub(masked, text)
        return text

    def _without_known(self, text: str) -> str:
        if not self._lengths:
            return text
        spans = self._known_in(text)
        plain: str = text
        origin: Sequence[int] = range(len(text) + 1)
        for _ in range(ENCODED_AT_MOST):
            further, where = plainer(plain)
            if further == plain:
                break
            plain, origin = further, [origin[at] for at in where]
            spans += [(origin[start], origin[end]) for start, end in self._known_in(plain)]
        return _with_mask(text, spans) if spans else text

    def _known_in(self, text: str) -> list[tuple[int, int]]:
        """Where known secrets begin and end in a text."""
        spans: list[tuple[int, int]] = []
        at = 0
        while at <= len(text) - SHORTEST:
            found = self._form_at(text, at)
            if found is not None:
                spans.append((at, at + len(found)))
            at += 1 if found is None else len(found)
        return spans

    def _form_at(self, text: str, at: int) -> str | None:
        if text[at : at + SHORTEST] not in self._lengths:
            return None
        with self._lock:
            lengths = sorted(self._lengths.get(text[at : at + SHORTEST], ()), reverse=True)
            return next((form for size in lengths if (form := text[at : at + size]) in self._forms), None)

    def value(self, value: object, depth: int = 0) -> object:
        """The same as plain JSON values, masked throughout; anything else becomes its masked repr."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "backslashreplace"))
        if depth < DEEPEST and isinstance(value, Mapping):
            return {self.text(str(key)): self._member(key, each, depth) for key, each in value.items()}
        if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self.value(each, depth + 1) for each in value]
        return self.text(repr(value))

    def _member(self, key: object, value: object, depth: int) -> object:
        hidden = isinstance(key, str) and SECRET_KEY.search(key) and not isinstance(value, bool | None)
        return MASK if hidden else self.value(value, depth + 1)

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        """As the last processor before a renderer."""
        return {self.text(key): self._member(key, each, 0) for key, each in event.items()}


def _take_one(counter: Counter[T], each: T) -> None:
    counter[each] -= 1
    if not counter[each]:
        del counter[each]


def _with_mask(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """`text` with the mask in place of these parts; once where parts overlap, for all that they cover."""
    pieces: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start >= at:
            pieces += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*pieces, text[at:]])


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines; when one cannot be made, says so without the arguments, which may hold a secret."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        kind = type(sys.exception()).__name__
        with suppress(OSError, ValueError):  # the stream itself may be what is gone
            self.stream.write(f"log_line_lost logger={record.name} line={record.lineno} error={kind}\n")


def configure(level: str, stream: TextIO, json: bool, redactor: Redactor) -> None:
    """Set up logging for the process: ours and every library's, at `level`, through `redactor`, to `stream`.

    Our events are constant names with fields. A library's line is the event `library_log` with its text
    in `message`. With `json` each line is a JSON object, else coloured text for a terminal.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    stamped: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*stamped, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Lines(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*stamped, _library_log],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                redactor,
                _renderer(stream, json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for name in QUIET:
        # A tick that is still at work when the next is due is told of by itself, if it matters.
        least = logging.ERROR if name == "apscheduler" else logging.WARNING
        logging.getLogger(name).setLevel(max(number, least))


def _renderer(stream: TextIO, json: bool) -> Processor:
    if json:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
    )


def _library_log(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {**event, "event": "library_log", "message": event["event"]}
