"""JQL as text: taking a query apart where that is safe, and dates as Jira reads them."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# A quoted string with its escapes, a parenthesis, a word, or any other single character.
_PIECE = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|([()])|(\w+)|(.)""", re.DOTALL)
_ORDER = re.compile(r"order\s+by\b", re.IGNORECASE)
_FILTER = re.compile(r"""\s*filter\s*=\s*(["']?)(\d+)\1\s*""", re.IGNORECASE)

_VALUE = r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\w+)"""
_PROJECTS = re.compile(
    rf"project\s*(=\s*{_VALUE}|\bin\s*\(\s*{_VALUE}(\s*,\s*{_VALUE})*\s*\))", re.IGNORECASE
)

#: No account of the world has a clock further behind than this one: a literal of its local time is never
#: too late, whatever zone Jira reads it in.
WESTERNMOST: tzinfo = ZoneInfo("Etc/GMT+12")


class Malformed(ValueError):
    """The text cannot be JQL: a quote or a parenthesis has no partner."""


def without_order(jql: str) -> str:
    """The restriction alone, without a trailing ORDER BY. Raises `Malformed`.

    Words inside quotes are left alone. What passes can be put in parentheses without changing its meaning.
    """
    depth = 0
    for at, kind, text in _pieces(jql):
        if kind == "mark":
            raise Malformed("a quote is not closed")
        if kind == "bracket":
            depth += 1 if text == "(" else -1
            if depth < 0:
                raise Malformed("a closing parenthesis has no opening one")
        if kind == "word" and depth == 0 and _ORDER.match(jql, at):
            return jql[:at].strip()
    if depth:
        raise Malformed("a parenthesis is not closed")
    return jql.strip()


def _pieces(jql: str) -> Iterator[tuple[int, str, str]]:
    """Where they begin, whether `bracket`, `word` or lonely quotation `mark`, and their text."""
    for match in _PIECE.finditer(jql):
        quoted, bracket, word, other = match.groups()
        if bracket:
            yield match.start(), "bracket", bracket
        elif word:
            yield match.start(), "word", word
        elif not quoted and other in "\"'":
            yield match.start(), "mark", other


def filter_named(jql: str) -> str | None:
    """The id of the filter if the query is nothing but `filter = 12345`."""
    match = _FILTER.fullmatch(jql)
    return match[2] if match else None


def projects_of(jql: str) -> str | None:
    """The part of a query that says which projects all of its issues are in, if it says so as a whole."""
    depth, cuts = 0, [(0, 0)]
    for at, kind, text in _pieces(jql):
        if kind == "bracket":
            depth += 1 if text == "(" else -1
        elif depth == 0 and kind == "word" and text.lower() == "and":
            cuts.append((at, at + len(text)))
        elif depth == 0 and kind == "word" and text.lower() == "or":
            return None
    if "|" in jql or "&" in jql:
        # Other spellings of the same; a value may hold them, too.
        return None
    ends = [start for start, _ in cuts[1:]] + [len(jql)]
    clauses = (jql[begin:end].strip() for (_, begin), end in zip(cuts, ends, strict=True))
    return next((clause for clause in clauses if _PROJECTS.fullmatch(clause)), None)


def both(*restrictions: str) -> str:
    """All restrictions at once. Each is kept whole in parentheses, because of a top-level OR."""
    return " AND ".join(f"({restriction})" for restriction in restrictions if restriction)


def zone_of(name: str | None) -> tzinfo:
    """The time zone of an account's profile; where it is unknown, the one that is never too late."""
    try:
        return ZoneInfo(name) if name else WESTERNMOST
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return WESTERNMOST


def literal(moment: datetime, zone: tzinfo) -> str:
    """A date literal that Jira, reading it in `zone`, takes for `moment` or for a little earlier.

    Jira knows no seconds there, so the minute is cut. A local time that the clocks of that zone show twice
    or never is no way to name a moment: then the last earlier one that they show once is taken.
    """
    while True:
        local = moment.astimezone(zone).replace(second=0, microsecond=0)
        if _shown_once(local.replace(tzinfo=None), zone):
            return f'"{local:%Y/%m/%d %H:%M}"'
        moment -= timedelta(minutes=1)


def _shown_once(wall: datetime, zone: tzinfo) -> bool:
    """Whether the clocks of `zone` show this local time exactly once: where they jump, the folds differ."""
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return first.utcoffset() == second.utcoffset()
