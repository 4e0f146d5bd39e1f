"""Declared connections: a TOML file that says what is to be kept in step, read and checked as a whole."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from config.fields import NAMES, Fields, Reading, Wrong, is_name, shown_key
from config.frequency import FrequencyError, parse_frequency
from config.secret import Secret

KINDS = ("basic", "bearer", "pat", "anonymous", "oauth2")
TABLES = ("projects", "credentials", "connections")

T = TypeVar("T")


class DeclarationError(Exception):
    """The file cannot be read at all: the message names it and says why."""


class DeclaredProject(msgspec.Struct, frozen=True):
    key: str
    name: str


class DeclaredCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as it is to be. A secret or refresh token that is None stays as it is stored.

    `label` is the name of its table, by which connections of the same file refer to it.
    """

    label: str
    name: str
    system: str
    kind: str
    username: str | None
    token_url: str | None
    client_id: str | None
    scope: str | None
    secret: Secret | None
    refresh_token: Secret | None


class DeclaredConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as it is to be. `enabled`, `debug` and a secret that are None stay as they are stored.

    `credential` is the label or the name of one, `project` the key of one.
    """

    label: str
    name: str
    system: str
    url: str | None
    credential: str | None
    project: str | None
    frequency: str
    timezone: str
    streams: list[str] | None
    params: dict[str, object]
    enabled: bool | None
    debug: bool | None
    webhook_secret: Secret | None


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says. With anything in `wrong` it is only good for finding what else is wrong.

    `set` is the name under which the file's connections are remembered. `unusable` are the places of
    tables that lack too much to be looked at. `secrets` is all that must not be shown.
    """

    set: str | None
    projects: tuple[DeclaredProject, ...]
    credentials: tuple[DeclaredCredential, ...]
    connections: tuple[DeclaredConnection, ...]
    wrong: tuple[Wrong, ...]
    unusable: frozenset[str]
    secrets: tuple[Secret, ...]


def load(path: Path, environ: Mapping[str, str]) -> Declared:
    """What the file says, with everything that is wrong with it. Raises `DeclarationError`.

    In every text `${NAME}` is the variable of that name, `${NAME:-text}` the same or else that text, and
    `$${` a plain `${`. Files of secrets are found from the folder of this file.
    """
    reading = Reading(path.absolute().parent, environ)
    content = Fields(reading, "", "file", _parsed(path))
    name = content.text("set")
    projects = _tables(content, "projects", _project)
    credentials = _tables(content, "credentials", _credential)
    connections = _tables(content, "connections", _connection)
    content.close()
    _note_namesakes(reading, "credentials", credentials)
    _note_namesakes(reading, "connections", connections)
    return Declared(
        set=name,
        projects=projects,
        credentials=credentials,
        connections=connections,
        wrong=tuple(reading.wrong),
        unusable=frozenset(reading.unusable),
        secrets=tuple(reading.secrets),
    )


def _parsed(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise DeclarationError(f"{path} cannot be read: {e.strerror}.") from None
    except UnicodeDecodeError:
        raise DeclarationError(f"{path} does not hold UTF-8 text.") from None
    except tomllib.TOMLDecodeError as e:
        raise DeclarationError(f"{path} is not a TOML file: {e}.") from None


def _note_namesakes(
    reading: Reading, what: str, found: Iterable[DeclaredCredential | DeclaredConnection]
) -> None:
    seen: dict[str, str] = {}
    for each in found:
        place = f"{what}.{shown_key(each.label)}"
        if (first := seen.setdefault(each.name, place)) != place:
            reading.note(place, "name", f"{first} has this name already: each needs one of its own.")


def _tables(content: Fields, what: str, read: Callable[[Fields, str], T | None]) -> tuple[T, ...]:
    found = []
    for label, inner in content.table(what).items():
        place = f"{what}.{shown_key(label)}"
        if not is_name(label):
            content.reading.note(what, shown_key(label), NAMES)
            content.reading.unusable.add(place)
            continue
        if not isinstance(inner, dict):
            content.reading.note(what, shown_key(label), f"This is written as a table: [{place}].")
            content.reading.unusable.add(place)
            continue
        fields = Fields(content.reading, place, what.removesuffix("s"), inner)
        made = read(fields, label)
        fields.close()
        if made is None:
            content.reading.unusable.add(place)
        else:
            found.append(made)
    return tuple(found)


def _project(fields: Fields, label: str) -> DeclaredProject:
    return DeclaredProject(label, fields.name("name") or label)


def _credential(fields: Fields, label: str) -> DeclaredCredential | None:
    name, system, username = fields.name("name"), fields.system(), fields.text("username")
    token_url, client_id, scope = (fields.text(each) for each in ("token_url", "client_id", "scope"))
    kind = fields.choice("kind", KINDS) or ("oauth2" if token_url else "basic" if username else "pat")
    secret, refresh_token = fields.secret("secret"), fields.secret("refresh_token")
    if system is None:
        return None
    return DeclaredCredential(
        label=label,
        name=name or label,
        system=system,
        kind=kind,
        username=username,
        token_url=token_url,
        client_id=client_id,
        scope=scope,
        secret=secret,
        refresh_token=refresh_token,
    )


def _connection(fields: Fields, label: str) -> DeclaredConnection | None:
    name, system, url = fields.name("name"), fields.system(), fields.text("url")
    credential, project = fields.text("credential"), fields.text("project")
    frequency, timezone = _frequency(fields)
    streams, params, enabled = fields.texts("streams"), fields.values("params"), fields.flag("enabled")
    debug, webhook_secret = fields.flag("debug"), fields.secret("webhook_secret")
    if system is None:
        return None
    return DeclaredConnection(
        label=label,
        name=name or label,
        system=system,
        url=url,
        credential=credential,
        project=project,
        frequency=frequency,
        timezone=timezone,
        streams=streams,
        params=params,
        enabled=enabled,
        debug=debug,
        webhook_secret=webhook_secret,
    )


def _frequency(fields: Fields) -> tuple[str, str]:
    """Frequency in its one spelling, and time zone."""
    frequency, timezone = fields.text("frequency") or "hourly", fields.text("timezone") or "UTC"
    wrong = []
    for tried in ((frequency, "UTC"), ("hourly", timezone)):
        try:
            parse_frequency(*tried)
        except FrequencyError as e:
            wrong.append(e)
    for each in wrong:
        fields.note(each.field, f"{each.message}.")
    return ("hourly", "UTC") if wrong else (parse_frequency(frequency, timezone).text, timezone)
