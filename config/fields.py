"""The fields of a declared table: variables filled in, secrets fetched, and everything wrong noted."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path

import msgspec

from config.logs import SECRET_KEY
from config.secret import MASK, Secret

LONGEST_TEXT = 10_000  # characters
LONGEST_NAME = 200  # characters
NAMES = f"A name has 1 to {LONGEST_NAME} characters, and not only spaces."
SOURCES = ("", "_env", "_file")  # where a secret may come from, as the end of its field
_SYSTEM = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{[^}]*\}?")


class Wrong(msgspec.Struct, frozen=True):
    """What is wrong with one field of one table, and what would work."""

    table: str
    field: str
    message: str

    @property
    def place(self) -> str:
        return f"{self.table}.{self.field}" if self.table else self.field


def is_name(text: str) -> bool:
    return len(text) <= LONGEST_NAME and bool(text.strip()) and "\0" not in text


def shown_key(key: str) -> str:
    """A key as one writes it in TOML."""
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


class Reading:
    """One file being read: where it is, the variables, and what was found wrong so far."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.wrong: list[Wrong] = []
        self.unusable: set[str] = set()
        self.secrets: list[Secret] = []

    def note(self, table: str, field: str, message: str) -> None:
        self.wrong.append(Wrong(table, field, message))


class Fields:
    """The fields of one table, taken one by one. What is wrong is noted, and counts as left out.

    An empty text is the same as none, so that `${NAME:-}` leaves a field out where NAME is not set.
    """

    def __init__(self, reading: Reading, place: str, what: str, content: Mapping[str, object]) -> None:
        self.reading = reading
        self._place = place
        self._what = what
        self._content = content
        self._known: list[str] = []

    def note(self, field: str, message: str) -> None:
        self.reading.note(self._place, field, message)

    def close(self) -> None:
        """Note every field that was given and not taken."""
        for field in self._content:
            if field in self._known:
                continue
            close = difflib.get_close_matches(field, self._known, n=1)
            meant = f"Did you mean {close[0]}? " if close else ""
            known = f"A {self._what} has {', '.join(self._known)}."
            self.note(shown_key(field), f"There is no such field. {meant}{known}")

    def text(self, field: str) -> str | None:
        value = self._filled(field)
        if value is None:
            return None
        if not isinstance(value, str):
            self.note(field, f"A text is needed, in quotes, and not {_told(value)}.")
            return None
        if len(value) > LONGEST_TEXT or "\0" in value:
            self.note(field, f"At most {LONGEST_TEXT} characters can be kept, and no NUL.")
            return None
        return value or None

    def name(self, field: str) -> str | None:
        value = self.text(field)
        if value is not None and not is_name(value):
            self.note(field, NAMES)
            return None
        return value

    def system(self) -> str | None:
        known = len(self.reading.wrong)
        value = self.text("system")
        if value is None and len(self.reading.wrong) == known:
            self.note("system", f"A {self._what} needs one: jira, jenkins or azure.")
        if value is not None and not _SYSTEM.fullmatch(value):
            self.note("system", "A system is one word in lower case: jira, jenkins or azure.")
            return None
        return value

    def choice(self, field: str, allowed: Sequence[str]) -> str | None:
        value = self.text(field)
        if value is not None and value not in allowed:
            self.note(field, f"Allowed are {', '.join(allowed)}.")
            return None
        return value

    def flag(self, field: str) -> bool | None:
        value = self._filled(field)
        if value in ("true", "false"):  # what a variable can say
            return value == "true"
        if value is None or value == "" or isinstance(value, bool):
            return value if isinstance(value, bool) else None
        self.note(field, f"true or false is needed, and not {_told(value)}.")
        return None

    def texts(self, field: str) -> list[str] | None:
        value = self._filled(field)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.note(field, f'A list of texts is needed, like ["issues"], and not {_told(value)}.')
            return None
        return value

    def values(self, field: str) -> dict[str, object]:
        """A table of whatever values: texts, numbers, lists. A date is taken as its text."""
        value = self._filled(field)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.note(field, f'A table is needed, like {{ jql = "project = TG" }}, and not {_told(value)}.')
            return {}
        return value

    def table(self, field: str) -> dict[str, object]:
        """A table as it is written: what is in it is read by its own fields."""
        self._known.append(field)
        value = self._content.get(field, {})
        if not isinstance(value, dict):
            self.note(field, f"Tables are needed, like [{field}.name], and not {_told(value)}.")
            return {}
        return value

    def secret(self, field: str) -> Secret | None:
        """A secret: the field itself, or the variable or file that `_env` or `_file` names."""
        given = [f"{field}{source}" for source in SOURCES if f"{field}{source}" in self._content]
        texts = {name: self.text(name) for name in (f"{field}{source}" for source in SOURCES)}
        if len(given) > 1:
            self.note(field, f"Give one of {', '.join(given)}.")
            return None
        if not given or texts[given[0]] is None:
            return None
        name, text = given[0], str(texts[given[0]])
        found = self._kept(name, text) if name != field else text
        if found is None:
            return None
        if found == MASK:
            self.note(name, "This stands for a stored secret; leave it out, and the stored one stays.")
            return None
        self.reading.secrets.append(Secret(found))
        return self.reading.secrets[-1]

    def _kept(self, name: str, text: str) -> str | None:
        if name.endswith("_env"):
            if not self.reading.environ.get(text):
                self.note(name, f"The environment variable {text[:100]} is not set, or empty.")
                return None
            return self.reading.environ[text]
        path = self.reading.folder / Path(text).expanduser()
        try:
            found = path.read_text("utf-8").rstrip("\r\n")
        except OSError as e:
            self.note(name, f"{path} cannot be read: {e.strerror}.")
            return None
        except UnicodeDecodeError:
            self.note(name, f"{path} does not hold UTF-8 text.")
            return None
        if not found:
            self.note(name, f"{path} is empty.")
        return found or None

    def _filled(self, field: str) -> object:
        """The value with its variables filled in; None if it is not given or one of them is missing."""
        self._known.append(field)
        known = len(self.reading.wrong)
        value = self._with_variables(self._content.get(field), field)
        return value if len(self.reading.wrong) == known else None

    def _with_variables(self, value: object, field: str) -> object:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda found: self._variable(found, field), value)
        if isinstance(value, list):
            return [self._with_variables(each, field) for each in value]
        if isinstance(value, dict):
            return {
                name: self._with_variables(each, f"{field}.{shown_key(name)}") for name, each in value.items()
            }
        if isinstance(value, date | datetime | time):
            return value.isoformat()
        return value

    def _variable(self, found: re.Match[str], field: str) -> str:
        name, default = found[1], found[2]
        if found[0] == "$${":
            return "${"
        if name is None:
            self.note(field, "Variables are written ${NAME} or ${NAME:-default}; $${ stands for the text ${.")
            return ""
        value = self.reading.environ.get(name)
        if not value and default is None:
            self.note(
                field,
                f"The environment variable {name} is not set, or empty; ${{{name}:-text}} has a default.",
            )
            return ""
        if value and SECRET_KEY.search(name):
            self.reading.secrets.append(Secret(value))
        return value or default or ""


def _told(value: object) -> str:
    """What somebody wrote, without repeating it: it may be a secret in the wrong place."""
    words = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
    return words.get(type(value), "a table")
