"""Service hooks of a simulated organisation: subscriptions, and the events that are sent to them."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import msgspec

from tidegate.demo.remotes.azure.ci import Build
from tidegate.demo.remotes.azure.model import Item, Organisation
from tidegate.demo.remotes.azure.render import Person, Refusal, guid, no_route, time_text

_SECONDS_AT_MOST = 10
_MASK = "********"
_SECRETS = ("basicAuthPassword", "httpHeaders")
_DETAILS = ("id", "workItemId", "rev", "url")
# Vendor docs: these are tried again, 410 ends a subscription at once, anything else counts against it.
_TRANSIENT = (408, 502, 503, 504)
_TRIES = 8


class Subscription(msgspec.Struct):
    """Which events of which project ("" for all) are sent where; `given` is its body as it was made."""

    id: str
    given: dict[str, object]
    status: str = "enabled"

    @property
    def kind(self) -> str:
        return str(self.given["eventType"])

    @property
    def project(self) -> str:
        return str(_members(self.given, "publisherInputs").get("projectId") or "")

    @property
    def inputs(self) -> Mapping[str, object]:
        return _members(self.given, "consumerInputs")


class Sent(msgspec.Struct, frozen=True):
    """An event that was sent, and the status it was answered with; 0 if nobody did."""

    event: Mapping[str, object]
    url: str
    status: int


class Hooks:
    """`editable` says whether the account has Edit subscriptions, `organisation_wide` whether that goes for
    more than single projects. Events leave by themselves once somebody subscribed; `drained` waits for that.
    `pause` is waited before a delivery is tried again.
    """

    def __init__(self, model: Organisation, pause: float = 0.05) -> None:
        self._model = model
        self._pause = pause
        self.subscriptions: dict[str, Subscription] = {}
        self.editable = True
        self.organisation_wide = True
        self.sent: list[Sent] = []
        self._made = 0
        self._notified = 0
        self._waiting: asyncio.Queue[tuple[Subscription, dict[str, object]]] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None
        model.told, model.ci.told = self._of_item, self._of_build

    # --- the endpoints

    def answer(
        self, method: str, id: str, query: Mapping[str, str], body: bytes, caller: Person | None
    ) -> tuple[int, bytes]:
        """Status and body."""
        if caller is None or not self.editable:
            raise _no_permission(caller)
        known = self.subscriptions.get(id)
        if id and known is None:
            message = f"The subscription with id {id} could not be found."
            raise Refusal(404, message, "SubscriptionNotFoundException")
        match method, known:
            case "GET", None:
                found = [one for one in self.subscriptions.values() if _wanted(one, query)]
                return 200, msgspec.json.encode({"count": len(found), "value": list(map(_shown, found))})
            case "GET", Subscription():
                return 200, msgspec.json.encode(_shown(known))
            case "POST", None:
                self._made += 1
                made = Subscription(guid(self._model.name, "hook", self._made), {})
                self._change(made, body, caller)
                self.subscriptions[made.id] = made
                return 200, msgspec.json.encode(_shown(made))
            case "PUT", Subscription():
                self._change(known, body, caller)
                known.status = str(known.given.get("status", known.status))
                return 200, msgspec.json.encode(_shown(known))
            case "DELETE", Subscription():
                del self.subscriptions[id]
                return 204, b""
        raise no_route("/_apis/hooks/subscriptions")

    def _change(self, one: Subscription, body: bytes, caller: Person) -> None:
        """Take over what was sent. Passwords go over https only (vendor docs)."""
        try:
            given = msgspec.json.decode(body, type=dict[str, object])
        except msgspec.DecodeError:
            raise Refusal(400, "The body is not JSON.", "VssPropertyValidationException") from None
        fresh = Subscription(one.id, given)
        if not str(given.get("eventType", "")) or not fresh.inputs.get("url"):
            raise Refusal(400, "A required input is missing.", "SubscriptionInputException")
        if "basicAuthPassword" in fresh.inputs and not str(fresh.inputs["url"]).startswith("https:"):
            message = "Basic authentication requires a URL that starts with https."
            raise Refusal(400, message, "SubscriptionInputException")
        if fresh.project:
            self._model.project(fresh.project)
        elif not self.organisation_wide:
            raise _no_permission(caller)
        one.given = given

    # --- the events

    def _of_item(self, kind: str, item: Item, before: Mapping[str, object]) -> None:
        if any(one.kind == kind for one in self.subscriptions.values()):
            whole = self._item(item, kind)
            self._tell(
                kind, item.project, self._update(item, whole, before) if kind == "workitem.updated" else whole
            )

    def _of_build(self, build: Build) -> None:
        url = f"https://dev.azure.com/{self._model.name}/{build.project}/_apis/build/Builds/{build.id}"
        resource: dict[str, object] = {
            "uri": f"vstfs:///Build/Build/{build.id}",
            "id": build.id,
            "buildNumber": build.number,
            "url": url,
            "finishTime": time_text(build.finished) if build.finished else None,
            "reason": build.reason,
            # The result, in this version of the resource (seen in recorded events).
            "status": build.result,
            "definition": {"id": build.pipeline},
        }
        self._tell("build.complete", build.project, resource)

    def _tell(self, kind: str, project: str, resource: dict[str, object]) -> None:
        for one in self.subscriptions.values():
            if one.kind == kind and one.project in ("", project) and one.status in ("enabled", "onProbation"):
                self._notified += 1
                self._waiting.put_nowait((one, self._event(one, project, resource)))
                if self._sending is None:
                    self._sending = asyncio.create_task(self._send())

    def _event(self, to: Subscription, project: str, resource: dict[str, object]) -> dict[str, object]:
        details = to.inputs.get("resourceDetailsToSend", "all")
        some = {name: resource[name] for name in _DETAILS if name in resource}
        return {
            "subscriptionId": to.id,
            "notificationId": self._notified,
            "id": guid(self._model.name, "event", self._notified),
            "eventType": to.kind,
            "publisherId": "tfs",
            "resource": {"all": resource, "minimal": some}.get(str(details)),
            "resourceVersion": "1.0",
            "resourceContainers": {
                "collection": {"id": guid(self._model.name, "collection")},
                "account": {"id": guid(self._model.name, "account")},
                "project": {"id": project},
            },
            "createdDate": time_text(self._model.now()),
        }

    def _item(self, item: Item, kind: str) -> dict[str, object]:
        """Identities are texts in events (seen in recorded ones); a deleted item is in the bin."""
        url = self._model.item_url(item)
        fields = {name: _text(value) for name, value in item.fields.items()}
        link = url.replace("/workItems/", "/recyclebin/") if kind == "workitem.deleted" else url
        return {"id": item.id, "rev": item.rev, "fields": fields, "_links": {}, "url": link}

    def _update(
        self, item: Item, whole: dict[str, object], before: Mapping[str, object]
    ) -> dict[str, object]:
        """Its id is the number of the update, and not that of the work item (seen in recorded events)."""
        changed = {
            name: {"oldValue": _text(before.get(name)), "newValue": _text(item.fields.get(name))}
            for name in {**before, **item.fields}
            if before.get(name) != item.fields.get(name)
        }
        return {
            "id": item.rev,
            "workItemId": item.id,
            "rev": item.rev,
            "fields": changed,
            "url": f"{whole['url']}/updates/{item.rev}",
            "revision": whole,
        }

    # --- the sender

    async def drained(self) -> None:
        """Until all that happened so far was sent."""
        await self._waiting.join()

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending

    async def _send(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_SECONDS_AT_MOST)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                to, event = await self._waiting.get()
                try:
                    await self._deliver(session, to, event)
                finally:
                    self._waiting.task_done()

    async def _deliver(
        self, session: aiohttp.ClientSession, to: Subscription, event: dict[str, object]
    ) -> None:
        url = str(to.inputs["url"])
        for _ in range(_TRIES):
            try:
                async with session.post(url, json=event, headers=_headers(to.inputs)) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            self.sent.append(Sent(event, url, status))
            if status not in _TRANSIENT:
                break
            await asyncio.sleep(self._pause)
        if status == 410:
            to.status = "disabledBySystem"
        elif not 200 <= status < 300:
            to.status = "onProbation"


def _headers(inputs: Mapping[str, object]) -> dict[str, str]:
    lines = str(inputs.get("httpHeaders", "")).splitlines()
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "basicAuthPassword" in inputs:
        login = f"{inputs.get('basicAuthUsername', '')}:{inputs['basicAuthPassword']}"
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return headers


def _wanted(one: Subscription, query: Mapping[str, str]) -> bool:
    return all(query.get(name) in (None, one.given.get(name)) for name in ("publisherId", "consumerId"))


def _shown(one: Subscription) -> dict[str, object]:
    """What is secret is masked (documented examples)."""
    inputs = {name: _MASK if name in _SECRETS else value for name, value in one.inputs.items()}
    return {**one.given, "id": one.id, "status": one.status, "consumerInputs": inputs}


def _members(given: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _text(value: object) -> object:
    if isinstance(value, dict) and "uniqueName" in value:
        return f"{value['displayName']} <{value['uniqueName']}>"
    return value


def _no_permission(caller: Person | None) -> Refusal:
    """Words of the refusal as quoted by users."""
    return Refusal(
        403,
        f"Access Denied: {caller.name if caller else 'Anonymous'} needs the following permission(s) on the "
        "resource PublisherSecurity to perform this action: Edit Subscription",
        "AccessCheckException",
    )
