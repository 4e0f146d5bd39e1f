"""What a declared file would change: read from the database, compared field by field, nothing written."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from api import oauth2
from config.declared import Declared, DeclaredConnection, DeclaredCredential
from config.fields import Wrong, shown_key
from config.fingerprint import recognises
from config.secret import MASK, Secret
from config.vault import Vault
from store import applied, connections, credentials, projects, tokens
from store.connections import Connection
from store.credentials import Credential
from store.projects import Project
from store.schema import connections as connection_table
from store.schema import credentials as credential_table
from store.webhooks import place_of_secret

ALL = 1_000_000
CHANGED, GIVEN, REMOVED = "(changed)", "(given)", "(removed)"

Kind = Literal["project", "credential", "connection"]
S = TypeVar("S", Project, Credential, Connection)


class Field(msgspec.Struct, frozen=True):
    """One field that becomes another. Of a secret it is only said that it does."""

    name: str
    before: object
    after: object


class Step(msgspec.Struct, frozen=True):
    """One thing to do. `id` is None for what is to be made, `place` where the file says so."""

    action: Literal["create", "change", "remove"]
    kind: Kind
    name: str
    id: int | None = None
    place: str = ""
    fields: tuple[Field, ...] = ()

    def touches(self, *names: str) -> bool:
        return any(field.name in names for field in self.fields)


class Named(msgspec.Struct, frozen=True):
    """Something stored. `set` is the set of declarations that it belongs to, if any."""

    kind: Kind
    name: str
    id: int
    set: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """What is to be done, in this order; what is as declared already; and what is left alone."""

    steps: tuple[Step, ...]
    same: tuple[Named, ...]
    undeclared: tuple[Named, ...]


class Stored(msgspec.Struct, frozen=True):
    """What the database holds. Secrets are sealed."""

    projects: Sequence[Project]
    credentials: Sequence[Credential]
    connections: Sequence[Connection]
    sealed: Mapping[str, str | None]
    sets: Mapping[tuple[str, int], str]
    refresh_tokens: Mapping[int, str]

    def credential(self, credential_id: int | None) -> str | None:
        return next((one.name for one in self.credentials if one.id == credential_id), None)

    def project(self, project_id: int | None) -> str | None:
        return next((one.key for one in self.projects if one.id == project_id), None)


async def stored(connection: AsyncConnection) -> Stored:
    """All that a file can declare, as it is now."""
    keys, hooks = credential_table.c, connection_table.c
    sealed: dict[str, str | None] = {}
    for id_, text in await connection.execute(select(keys.id, keys.secret)):
        sealed[credentials.place(id_)] = text
    query = select(hooks.id, hooks.webhook_secret).where(hooks.webhook_secret.is_not(None))
    for id_, text in await connection.execute(query):
        sealed[place_of_secret(id_)] = text
    return Stored(
        projects=await projects.listed(connection, 0, ALL),
        credentials=await credentials.listed(connection, 0, ALL),
        connections=await connections.listed(connection, 0, ALL),
        sealed=sealed,
        sets=await applied.sets(connection),
        refresh_tokens=await applied.refresh_tokens(connection),
    )


class Drawing:
    """A plan being drawn. `wrong` is what the file asks for and cannot be had."""

    def __init__(self, there: Stored, declared: Declared, vault: Vault, *, prune: bool) -> None:
        self._there = there
        self._declared = declared
        self._vault = vault
        self._prune = prune
        self._steps: list[Step] = []
        self._same: list[Named] = []
        self._credentials = _by_name(there.credentials)
        self._connections = _by_name(there.connections)
        self._labels = {one.label: one.name for one in declared.credentials}
        self.wrong: list[Wrong] = []

    def plan(self) -> Plan:
        for project in self._declared.projects:
            self._project(project.key, project.name)
        for credential in self._declared.credentials:
            self._credential(credential)
        for one in self._declared.connections:
            self._connection(one)
        if self._prune:
            self._removals()
        return Plan(tuple(self._steps), tuple(self._same), tuple(self._undeclared()))

    def credential_of(self, wanted: DeclaredConnection) -> str | None:
        """The name of its credential: one of the file by its label, or one that is stored."""
        label = wanted.credential
        return None if label is None else self._labels.get(label, label)

    def _project(self, key: str, name: str) -> None:
        place = f"projects.{shown_key(key)}"
        found = next((one for one in self._there.projects if one.key == key), None)
        before = {"name": found.name} if found else {}
        self._add("project", key, found.id if found else None, place, _changes(before, {"name": name}))

    def _credential(self, wanted: DeclaredCredential) -> None:
        place = f"credentials.{shown_key(wanted.label)}"
        found = self._only(place, wanted.name, "credential", self._credentials)
        if not self._system_stays(place, found, wanted.system):
            return
        before: dict[str, object] = {}
        if found is not None:
            before = {"system": found.system, "kind": found.kind, "username": found.username}
            before |= {name: found.options.get(name) for name in oauth2.FIELDS}
        names = ("system", "kind", "username", *oauth2.FIELDS)
        fields = _changes(before, {name: getattr(wanted, name) for name in names})
        fields += self._secrets(found, wanted)
        self._add("credential", wanted.name, found.id if found else None, place, fields)

    def _connection(self, wanted: DeclaredConnection) -> None:
        place = f"connections.{shown_key(wanted.label)}"
        found = self._only(place, wanted.name, "connection", self._connections)
        self._references(place, wanted)
        if not self._system_stays(place, found, wanted.system):
            return
        before = self._as_stored(found) if found else {}
        after: dict[str, object] = {
            "system": wanted.system,
            "url": wanted.url,
            "credential": self.credential_of(wanted),
            "project": wanted.project,
            "frequency": wanted.frequency,
            "timezone": wanted.timezone,
            "streams": _ordered(wanted.streams),
            **_flat(wanted.params),
        }
        for name, value in {"enabled": wanted.enabled, "debug": wanted.debug}.items():
            if value is not None:
                after[name] = value
            elif found is not None:
                del before[name]
        fields = _changes(before, after)
        fields += self._webhook_secret(found, wanted.webhook_secret)
        self._add("connection", wanted.name, found.id if found else None, place, fields)

    def _as_stored(self, found: Connection) -> dict[str, object]:
        return {
            "system": found.system,
            "url": found.url,
            "credential": self._there.credential(found.credential_id),
            "project": self._there.project(found.project_id),
            "frequency": found.frequency,
            "timezone": found.timezone,
            "streams": _ordered(found.streams),
            **_flat(found.params),
            "enabled": found.enabled,
            "debug": found.debug,
        }

    def _secrets(self, found: Credential | None, wanted: DeclaredCredential) -> list[Field]:
        """What becomes of its secrets. They are compared in constant time, and never shown."""
        stays = found is None or oauth2.movable(found, wanted.kind, wanted.token_url)
        fields = []
        for name in oauth2.SECRETS:
            given: Secret | None = getattr(wanted, name)
            stored = self._stored_secret(found, name)
            unfit = wanted.kind == "anonymous" or (name == "refresh_token" and wanted.kind != "oauth2")
            if given is None and stored is not None and unfit:
                fields.append(Field(name, MASK, REMOVED))
            elif given is not None and stored is None:
                fields.append(Field(name, None, GIVEN))
            elif given is not None and not (stays and self._same_secret(found, name, given, stored)):
                fields.append(Field(name, MASK, CHANGED))
        return fields

    def _stored_secret(self, found: Credential | None, name: str) -> Secret | None:
        if found is None or not getattr(found, f"has_{name}"):
            return None
        place = credentials.place(found.id)
        opened = self._vault.open(self._there.sealed[place] or "", place)
        return Secret(getattr(tokens.secrets_of(opened), name) if found.kind == "oauth2" else opened)

    def _same_secret(self, found: Credential | None, name: str, given: Secret, stored: Secret | None) -> bool:
        """A refresh token is also the same if it was given once and the issuer replaced it since."""
        known = self._there.refresh_tokens.get(found.id) if found and name == "refresh_token" else None
        return given == stored or (known is not None and recognises(known, given))

    def _webhook_secret(self, found: Connection | None, given: Secret | None) -> list[Field]:
        if given is None:
            return []
        place = place_of_secret(found.id if found else 0)
        sealed = self._there.sealed.get(place)
        if sealed is None:
            return [Field("webhook_secret", None, GIVEN)]
        same = Secret(self._vault.open(sealed, place)) == given
        return [] if same else [Field("webhook_secret", MASK, CHANGED)]

    def _only(self, place: str, name: str, kind: Kind, among: Mapping[str, Sequence[S]]) -> S | None:
        """The one of this name, if there is one. Several cannot be told apart."""
        found = among.get(name, ())
        if len(found) > 1:
            ids = ", ".join(str(one.id) for one in found)
            self._note(place, "name", f"There are {len(found)} {kind}s called {name} (ids {ids}): keep one.")
        return found[0] if found else None

    def _system_stays(self, place: str, found: Credential | Connection | None, system: str) -> bool:
        if found is None or found.system == system:
            return True
        told = f"{found.name} is of {found.system}, which cannot be changed: give this one another name."
        self._note(place, "system", told)
        return False

    def _references(self, place: str, wanted: DeclaredConnection) -> None:
        name, project = self.credential_of(wanted), wanted.project
        unusable = f"credentials.{shown_key(wanted.credential or '')}" in self._declared.unusable
        if name is not None and not unusable and name not in self._labels.values():
            self._only(place, name, "credential", self._credentials)
            if name not in self._credentials:
                there = sorted({*self._labels, *self._credentials})
                self._note(place, "credential", f"There is no credential {name}. {_known(there)}")
        keys = {one.key for one in self._declared.projects} | {one.key for one in self._there.projects}
        unusable = f"projects.{shown_key(project or '')}" in self._declared.unusable
        if project is not None and not unusable and project not in keys:
            self._note(place, "project", f"There is no project with the key {project}. {_known(keys)}")

    def _removals(self) -> None:
        if self._declared.set is None:
            told = '--prune needs the file to have a name: write set = "some-name" as its first line.'
            self._note("", "set", told)
            return
        gone = [one for one in self._missing("connection") if one.set == self._declared.set]
        for one in gone:
            self._steps.append(Step("remove", "connection", one.name, one.id))
        used = self._used({one.id for one in gone})
        for one in self._missing("credential"):
            if one.set == self._declared.set and one.name not in used:
                self._steps.append(Step("remove", "credential", one.name, one.id))

    def _used(self, gone: set[int]) -> set[str | None]:
        """The names of the credentials that connections will use."""
        declared = {one.name: self.credential_of(one) for one in self._declared.connections}
        staying = [one for one in self._there.connections if one.id not in gone]
        kept = {self._there.credential(one.credential_id) for one in staying if one.name not in declared}
        return {*declared.values(), *kept}

    def _undeclared(self) -> list[Named]:
        removed = {(step.kind, step.id) for step in self._steps if step.action == "remove"}
        kinds: tuple[Kind, ...] = ("project", "credential", "connection")
        return [one for kind in kinds for one in self._missing(kind) if (kind, one.id) not in removed]

    def _missing(self, kind: Kind) -> list[Named]:
        """What is stored and not in the file."""
        sets = self._there.sets
        if kind == "project":
            keys = {one.key for one in self._declared.projects}
            return [Named(kind, one.key, one.id) for one in self._there.projects if one.key not in keys]
        if kind == "credential":
            names = {one.name for one in self._declared.credentials}
            among: Sequence[Credential | Connection] = self._there.credentials
        else:
            names = {one.name for one in self._declared.connections}
            among = self._there.connections
        return [
            Named(kind, one.name, one.id, sets.get((kind, one.id))) for one in among if one.name not in names
        ]

    def _add(self, kind: Kind, name: str, id_: int | None, place: str, fields: Iterable[Field]) -> None:
        fields = tuple(fields)
        if id_ is not None and not fields:
            self._same.append(Named(kind, name, id_))
        else:
            self._steps.append(Step("change" if id_ else "create", kind, name, id_, place, fields))

    def _note(self, place: str, field: str, message: str) -> None:
        self.wrong.append(Wrong(place, field, message))


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[Field]:
    names = [*after, *(name for name in before if name not in after)]
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [Field(name, was, now) for name, was, now in pairs if was != now]


def _by_name(found: Iterable[S]) -> Mapping[str, Sequence[S]]:
    named: dict[str, list[S]] = {}
    for one in found:
        named.setdefault(one.name, []).append(one)
    return named


def _flat(params: Mapping[str, object]) -> dict[str, object]:
    return {f"params.{name}": value for name, value in sorted(params.items())}


def _ordered(streams: Iterable[str] | None) -> list[str] | None:
    return None if streams is None else sorted(set(streams))


def _known(names: Iterable[str]) -> str:
    told = ", ".join(sorted(names))
    return f"There are {told}." if told else "There are none yet."
