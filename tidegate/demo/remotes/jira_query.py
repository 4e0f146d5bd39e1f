"""The part of JQL that the simulated Jira understands, evaluated against its issues."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from operator import ge, gt, le, lt
from typing import Protocol

import msgspec

from tidegate.demo.remotes.jira_issue import Issue

Test = Callable[[Issue], bool]

_TOKEN = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[(),]|>=|<=|!=|!~|[=<>~]|[^\s(),=<>!~"']+)""")
_RELATIVE = re.compile(r"([+-]?\d+)([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_FORMATS = ("%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M", "%Y/%m/%d", "%Y-%m-%d")
_TIMES = {"updated": "updated", "updateddate": "updated", "created": "created", "createddate": "created"}
_IDS = ("id", "key", "issue", "issuekey")
_COMPARISONS: dict[str, Callable[[datetime, datetime], bool]] = {">=": ge, ">": gt, "<=": le, "<": lt}
_ORDERS_MOST = 7
_EMPTY = ("empty", "null")


class JqlRefused(Exception):
    """A 400: what Jira says of a query that it does not take."""


_SORTED: dict[str, Callable[[Issue], tuple[str | int | datetime, ...]]] = {
    "created": lambda issue: (issue.created,),
    "updated": lambda issue: (issue.updated,),
    "key": lambda issue: (issue.project, issue.number),
    "id": lambda issue: (issue.id,),
}


class Order(msgspec.Struct, frozen=True):
    field: str
    descending: bool = False

    def value(self, issue: Issue) -> tuple[str | int | datetime, ...]:
        return _SORTED[self.field](issue)


class Query(msgspec.Struct, frozen=True):
    """A compiled query. `moving` if it depends on the present time."""

    test: Test
    orders: tuple[Order, ...]
    moving: bool

    def sort(self, issues: Iterable[Issue]) -> list[Issue]:
        found = sorted(issues, key=lambda issue: issue.id)
        for order in reversed(self.orders):
            found.sort(key=order.value, reverse=order.descending)
        return found


class Surroundings(Protocol):
    """What a query means depends on who asks, where and when."""

    zone: tzinfo
    now: datetime
    account_id: str | None

    def has_project(self, key: str) -> bool:
        """Whether the account may know of this project."""

    def issue_id(self, text: str) -> int | None:
        """The id of an issue that the account may see, by id or by present or earlier key."""

    def filter_jql(self, number: str) -> str | None: ...


def compile_jql(jql: str, around: Surroundings, *, bounded: bool = True) -> Query:
    """Raises `JqlRefused`; on Cloud (`bounded`) also for a query without any restriction (vendor docs)."""
    parser = _Parser(_tokens(jql), around)
    return parser.query(bounded=bounded)


def _tokens(jql: str) -> list[str]:
    tokens, at = [], 0
    while jql[at:].strip():
        match = _TOKEN.match(jql, at)
        if match is None:
            raise JqlRefused(f"Error in the JQL Query: the character at position {at} is not expected.")
        tokens.append(match[1])
        at = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str], around: Surroundings) -> None:
        self._tokens = tokens
        self._at = 0
        self._around = around
        self._moving = False

    def query(self, *, bounded: bool) -> Query:
        unbounded = not self._tokens or self._word() == "order"
        if unbounded and bounded:
            # The vendor's text is translated into the account's language; nobody may rely on it.
            raise JqlRefused("Unbounded JQL queries are not allowed here. Add a search restriction.")
        test: Test = (lambda _: True) if unbounded else self._any()
        orders = self._orders() if self._word() == "order" else (Order("created", descending=True),)
        if self._at < len(self._tokens):
            raise JqlRefused(f"Error in the JQL Query: '{self._tokens[self._at]}' is not expected here.")
        return Query(test, orders, self._moving)

    def _word(self) -> str:
        return self._tokens[self._at].lower() if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise JqlRefused("Error in the JQL Query: it ends too early.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _took(self, word: str) -> bool:
        if self._word() != word:
            return False
        self._at += 1
        return True

    def _any(self) -> Test:
        tests = [self._all()]
        while self._took("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda issue: any(test(issue) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._took("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda issue: all(test(issue) for test in tests)

    def _one(self) -> Test:
        if self._took("not"):
            inverse = self._one()
            return lambda issue: not inverse(issue)
        if self._took("("):
            inner = self._any()
            if not self._took(")"):
                raise JqlRefused("Error in the JQL Query: expecting ')'.")
            return inner
        return self._clause(_unquoted(self._next()).lower())

    def _clause(self, field: str) -> Test:
        operator = self._next().lower()
        if operator in {"is", "not"} and self._took("not" if operator == "is" else "in"):
            operator = f"{operator} {'not' if operator == 'is' else 'in'}"
        values = self._values()
        if field in _TIMES:
            return self._time(_TIMES[field], operator, values)
        if field == "filter":
            return self._filter(operator, values)
        return self._listed(field, operator, values)

    def _values(self) -> list[str]:
        if not self._took("("):
            value = self._next()
            if self._took("("):
                self._next()
                return [f"{value.lower()}()"]
            return [_unquoted(value)]
        values = []
        while not self._took(")"):
            values.append(_unquoted(self._next()))
            self._took(",")
        return values

    def _time(self, field: str, operator: str, values: list[str]) -> Test:
        moment = self._moment(field, values[0])
        compare = _COMPARISONS.get(operator)
        if compare is None:
            raise JqlRefused(f"The operator '{operator}' is not supported by the '{field}' field.")
        if field == "updated":
            return lambda issue: compare(issue.updated, moment)
        return lambda issue: compare(issue.created, moment)

    def _moment(self, field: str, text: str) -> datetime:
        """Minutes at best, in the zone of the account that searches (vendor docs, reported by users)."""
        if text == "now()":
            self._moving = True
            return self._around.now
        if relative := _RELATIVE.fullmatch(text):
            self._moving = True
            return self._around.now + int(relative[1]) * _UNITS[relative[2]]
        if text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        for spelling in _FORMATS:
            try:
                local = datetime.strptime(text, spelling)  # noqa: DTZ007 - the zone follows
            except ValueError:
                continue
            return local.replace(tzinfo=self._around.zone).astimezone(UTC)
        raise JqlRefused(
            f"Date value '{text}' for field '{field}' is invalid. Valid formats include: "
            "'yyyy/MM/dd HH:mm', 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format."
        )

    def _filter(self, operator: str, values: list[str]) -> Test:
        tests = []
        for value in values:
            jql = self._around.filter_jql(value)
            if jql is None:
                raise JqlRefused(f"The value '{value}' does not exist for the field 'filter'.")
            query = compile_jql(jql, self._around, bounded=False)
            self._moving = self._moving or query.moving
            tests.append(query.test)
        if operator in {"!=", "not in"}:
            return lambda issue: not any(test(issue) for test in tests)
        return lambda issue: any(test(issue) for test in tests)

    def _listed(self, field: str, operator: str, values: list[str]) -> Test:
        if operator not in {"=", "!=", "in", "not in", "is", "is not", "~"}:
            raise JqlRefused(f"The operator '{operator}' is not supported by the '{field}' field.")
        if operator == "~":
            return lambda issue: values[0].lower() in issue.summary.lower()
        wanted = self._wanted(field, values)
        read = _READERS.get(field)
        if read is None:
            raise JqlRefused(f"Field '{field}' does not exist or you do not have permission to view it.")
        if operator in {"!=", "not in", "is not"}:
            return lambda issue: not wanted & read(issue)
        return lambda issue: bool(wanted & read(issue))

    def _wanted(self, field: str, values: list[str]) -> frozenset[str]:
        if field in _IDS:
            return frozenset(self._issue(field, value) for value in values)
        if field == "project":
            for value in values:
                if not self._around.has_project(value.upper()):
                    raise JqlRefused(f"The value '{value}' does not exist for the field 'project'.")
        account = self._around.account_id or ""
        lower = [account if value == "currentuser()" else value.lower() for value in values]
        return frozenset("" if value in _EMPTY else value for value in lower)

    def _issue(self, field: str, value: str) -> str:
        """Naming an issue that is not there is an error (reported by users for keys)."""
        found = self._around.issue_id(value)
        if found is None:
            raise JqlRefused(f"An issue with key '{value}' does not exist for field '{field}'.")
        return str(found)

    def _orders(self) -> tuple[Order, ...]:
        self._next()
        if not self._took("by"):
            raise JqlRefused("Error in the JQL Query: expecting 'BY'.")
        orders = []
        while True:
            field = _unquoted(self._next()).lower()
            field = _TIMES.get(field, "key" if field in {"issuekey", "issue"} else field)
            if field not in _SORTED:
                raise JqlRefused(f"Not able to sort using field '{field}'.")
            orders.append(Order(field, self._word() == "desc"))
            if self._word() in {"asc", "desc"}:
                self._next()
            if not self._took(","):
                break
        if len(orders) > _ORDERS_MOST:
            raise JqlRefused(f"The orderBy clause can contain at most {_ORDERS_MOST} fields.")
        return tuple(orders)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[:1] in {'"', "'"} else token


def _person(account_id: str | None) -> set[str]:
    return {account_id or ""}


_READERS: dict[str, Callable[[Issue], set[str]]] = {
    **{name: lambda issue: {str(issue.id)} for name in _IDS},
    "project": lambda issue: {issue.project.lower()},
    "status": lambda issue: {issue.status.lower()},
    "statuscategory": lambda issue: {issue.status_category},
    "issuetype": lambda issue: {issue.type.lower()},
    "type": lambda issue: {issue.type.lower()},
    "priority": lambda issue: {issue.priority.lower()},
    "resolution": lambda issue: {(issue.resolution or "").lower()},
    "labels": lambda issue: {label.lower() for label in issue.labels} or {""},
    "assignee": lambda issue: _person(issue.assignee),
    "reporter": lambda issue: _person(issue.reporter),
}
