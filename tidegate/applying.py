"""Making a plan so: every step by the rules of the API, all of them in one transaction or none."""

from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from api import credentials as credential_rules
from api import edits
from api.context import Context
from api.credentials import OAUTH2, CredentialChange, NewCredential
from api.oauth2 import SECRETS
from api.problems import ProblemError
from api.routing import converted
from api.wanted import Wanted
from config.declared import Declared, DeclaredConnection, DeclaredCredential
from config.fields import SOURCES, Wrong
from config.fingerprint import fingerprint, recognises
from config.secret import Secret
from store import applied, audit, connections, credentials, projects
from store.database import Joined, clock
from tidegate.plan import Drawing, Plan, Step, stored

_FIELDS = {"credential_id": "credential", "project_id": "project"}
#: Fields that are understood together: with one of them unknown, nothing can be said of the other.
_TARGET = frozenset({"url", "params"})


class Refused(Exception):
    """The file cannot be applied, for all these reasons. Nothing was changed."""

    def __init__(self, wrong: Sequence[Wrong]) -> None:
        super().__init__(f"{len(wrong)} things are wrong")
        self.wrong = wrong


class Moved(Exception):
    """What is stored is no longer what the plan was made for. Nothing was changed."""


async def draw(rules: Context, declared: Declared, *, prune: bool) -> Plan:
    """The plan, tried out on the database and undone. Raises `Refused` with all that is wrong."""
    async with rules.database.read() as connection:
        drawing = Drawing(await stored(connection), declared, rules.vault, prune=prune)
        plan = drawing.plan()
    wrong = [*declared.wrong, *drawing.wrong]
    if plan.steps:
        async with rules.database.write() as connection:
            work = _Work(rules, connection, declared, drawing)
            await work.do(plan)
            await connection.rollback()
        wrong += [one for one in work.wrong if not _follows(one, wrong)]
    if wrong:
        raise Refused(wrong)
    return plan


async def carry_out(rules: Context, declared: Declared, plan: Plan, *, prune: bool) -> None:
    """Do what the plan says, all of it or nothing. Raises `Moved` if it would be another plan by now."""
    async with rules.database.write() as connection:
        drawing = Drawing(await stored(connection), declared, rules.vault, prune=prune)
        now = drawing.plan()
        if now.steps != plan.steps:
            raise Moved
        work = _Work(rules, connection, declared, drawing)
        await work.do(now)
        if work.wrong:
            raise Refused(work.wrong)
        await work.claim(now)
        await work.remember()


def _follows(one: Wrong, known: Sequence[Wrong]) -> bool:
    """Whether this is only the consequence of something that was noted of the same table."""
    noted = {_root(each.field) for each in known if each.table == one.table}
    root = _root(one.field)
    return root in noted or bool(root in _TARGET and noted & _TARGET)


def _root(field: str) -> str:
    name = field.partition(".")[0]
    secrets = ("webhook_secret", *SECRETS)
    return next((one for one in secrets if name in [f"{one}{source}" for source in SOURCES]), name)


class _Work:
    """The steps of a plan, within one transaction. What the rules refuse is noted in `wrong`."""

    def __init__(
        self, rules: Context, connection: AsyncConnection, declared: Declared, drawing: Drawing
    ) -> None:
        self._rules = replace(rules, database=Joined(rules.database, connection))
        self._connection = connection
        self._declared = declared
        self._drawing = drawing
        self._credentials = {one.name: one for one in declared.credentials}
        self._connections = {one.name: one for one in declared.connections}
        self._ids: dict[tuple[str, str], int] = {}
        self.wrong: list[Wrong] = []

    async def do(self, plan: Plan) -> None:
        await self._lock(plan)
        self._ids = {(one.kind, one.name): one.id for one in (*plan.undeclared, *plan.same)}
        self._ids |= {(step.kind, step.name): step.id for step in plan.steps if step.id is not None}
        for step in plan.steps:
            try:
                await self._step(step)
            except ProblemError as e:
                self._refused(step, e)

    async def claim(self, plan: Plan) -> None:
        """Remember which set all of this belongs to, so that a later run can prune."""
        for step in plan.steps:
            if step.action == "remove" and step.kind != "project" and step.id is not None:
                await applied.forget(self._connection, step.kind, step.id)
        if self._declared.set is None:
            return
        for one in self._declared.connections:
            await applied.claim(
                self._connection, "connection", self._ids["connection", one.name], self._declared.set
            )
        for each in self._declared.credentials:
            await applied.claim(
                self._connection, "credential", self._ids["credential", each.name], self._declared.set
            )

    async def remember(self) -> None:
        """Keep fingerprints of the refresh tokens that the file gives."""
        known = await applied.refresh_tokens(self._connection)
        for one in self._declared.credentials:
            id_ = self._ids["credential", one.name]
            if one.refresh_token and not (id_ in known and recognises(known[id_], one.refresh_token)):
                made = fingerprint(one.refresh_token)
                await applied.remember_refresh_token(self._connection, id_, made)

    async def _lock(self, plan: Plan) -> None:
        """Lock what will be touched in one order: two who lock in different orders block each other."""
        ids = {step.id for step in plan.steps if step.kind == "connection" and step.id}
        for step in plan.steps:
            if step.kind == "credential" and step.id:
                ids.update(await credentials.users(self._connection, step.id))
        for connection_id in sorted(ids):
            await connections.locked(self._connection, connection_id)

    async def _step(self, step: Step) -> None:
        match step.kind, step.action:
            case "project", _:
                await self._project(step)
            case "credential", "remove":
                await credential_rules.discard(self._rules, step.id or 0)
            case "connection", "remove":
                await edits.remove(self._rules, step.id or 0, purge=False)
            case "credential", _:
                await self._credential(step, self._credentials[step.name])
            case "connection", _:
                await self._one(step, self._connections[step.name])

    async def _project(self, step: Step) -> None:
        name = next(one.name for one in self._declared.projects if one.key == step.name)
        now = await clock(self._connection)
        actor = self._rules.caller.actor
        if step.id is None:
            made = await projects.add(self._connection, step.name, name, now)
            self._ids["project", step.name] = made
            await audit.write(self._connection, actor, "create", "project", made, name=name)
            return
        await projects.change(self._connection, step.id, {"name": name}, now)
        await audit.write(self._connection, actor, "update", "project", step.id, name=name, fields=["name"])

    async def _credential(self, step: Step, wanted: DeclaredCredential) -> None:
        values: dict[str, object] = {name: getattr(wanted, name) for name in ("kind", "username", *OAUTH2)}
        for name in SECRETS:
            if step.id is None or step.touches(name):
                values[name] = _revealed(getattr(wanted, name))
        if step.id is not None:
            await credential_rules.edit(self._rules, step.id, converted(values, CredentialChange))
            return
        values |= {"name": wanted.name, "system": wanted.system}
        made = await credential_rules.make(self._rules, converted(values, NewCredential))
        self._ids["credential", wanted.name] = made.id

    async def _one(self, step: Step, wanted: DeclaredConnection) -> None:
        secret = _revealed(wanted.webhook_secret)
        if step.id is None:
            made = await edits.make(self._rules, self._wanted(wanted), secret)
            self._ids["connection", wanted.name] = made.id
            return
        await edits.edit(
            self._rules,
            step.id,
            lambda was: self._wanted(wanted, was),
            secret if step.touches("webhook_secret") else UNSET,
        )

    def _wanted(self, wanted: DeclaredConnection, was: Wanted | None = None) -> Wanted:
        """What the file does not speak of stays as it was."""
        name = self._drawing.credential_of(wanted)
        enabled, debug = (was.enabled, was.debug) if was else (True, False)
        return Wanted(
            name=wanted.name,
            system=wanted.system,
            url=wanted.url,
            credential_id=self._ids.get(("credential", name)) if name else None,
            project_id=self._ids.get(("project", wanted.project)) if wanted.project else None,
            frequency=wanted.frequency,
            timezone=wanted.timezone,
            streams=wanted.streams,
            params=wanted.params,
            enabled=enabled if wanted.enabled is None else wanted.enabled,
            debug=debug if wanted.debug is None else wanted.debug,
            attributes=was.attributes if was else {},
        )

    def _refused(self, step: Step, problem: ProblemError) -> None:
        table = step.place or f"{step.kind}s.{step.name}"
        if not problem.errors:
            self.wrong.append(Wrong(table, "", problem.detail))
        for each in problem.errors:
            self.wrong.append(Wrong(table, _FIELDS.get(each.field, each.field), each.message))


def _revealed(secret: Secret | None) -> str | None:
    return secret.reveal() if secret else None
