"""How subscriptions are asked for and shown."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from adapters.outgoing import LONGEST_URL
from api.access import Caller
from api.shapes import Discreet, Id, Name, System, moment
from store.health import Problem
from store.subscriptions import Subscription

Kind = Literal[
    "status",
    "connection_status",
    "subscription_status",
    "io.tidegate.status",
    "io.tidegate.connection_status",
    "io.tidegate.subscription_status",
]
State = Literal["queued", "running", "waiting", "succeeded", "partial", "failed", "cancelled"]
Health = Literal["disabled", "failed", "rate_limited", "processing", "partial", "stale", "pending", "healthy"]
Status = Literal["active", "failing", "disabled"]
Url = Annotated[str, Meta(min_length=1, max_length=LONGEST_URL, pattern=r"^[^\x00]*$")]
Kinds = Annotated[list[Kind], Meta(min_length=1, max_length=6)]
Systems = Annotated[list[System], Meta(min_length=1, max_length=50)]
Ids = Annotated[list[Id], Meta(min_length=1, max_length=1000)]
States = Annotated[list[State], Meta(min_length=1, max_length=7)]
Healths = Annotated[list[Health], Meta(min_length=1, max_length=8)]
GivenSecret = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]

#: What is shown of the address to keys that may not change it: those behind it may hold a token.
_HIDDEN = "/..."


class NewSubscription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A subscription to be made, to what happens from now on.

    With `project_id` it is told of that project's connections only. `types`, `systems` and `connection_ids`
    say of what else; null is everything. `states` choose among the events of type `status`, `healths` among
    those of type `connection_status`. Without a `secret` (`whsec_` and 24 to 64 bytes in base64) one is made.
    """

    name: Name
    url: Url
    project_id: Id | None = None
    types: Kinds | None = None
    systems: Systems | None = None
    connection_ids: Ids | None = None
    states: States | None = None
    healths: Healths | None = None
    secret: GivenSecret | None = None
    enabled: bool = True

    def __repr__(self) -> str:
        return f"NewSubscription({self.name!r})"


class SubscriptionChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is to be different; what is left out stays.

    `enabled: true` goes on where it stopped, also where the next attempt is far off. With `from: "now"`
    what waits is skipped; it can be sent by hand.
    """

    name: Name | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    project_id: Id | UnsetType | None = UNSET
    types: Kinds | UnsetType | None = UNSET
    systems: Systems | UnsetType | None = UNSET
    connection_ids: Ids | UnsetType | None = UNSET
    states: States | UnsetType | None = UNSET
    healths: Healths | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    start: Literal["now"] | UnsetType = msgspec.field(default=UNSET, name="from")


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A secret of one's own; without it one is made."""

    secret: GivenSecret | None = None

    def __repr__(self) -> str:
        return "Rotation(...)"


class SubscriptionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription without its secret.

    `status` is `failing` while events wait for the endpoint: since `failing_since`, until `next_attempt_at`.
    `disabled_reason` says why Tidegate switched it off; it is null if somebody did. Until `old_secret_until`
    the secret before the present one signs, too. Keys without `write` see no more of `url` than the host.
    """

    id: int
    name: str
    url: str
    project_id: int | None
    types: list[str] | None
    systems: list[str] | None
    connection_ids: list[int] | None
    states: list[str] | None
    healths: list[str] | None
    has_secret: bool
    old_secret_until: str | None
    enabled: bool
    status: Status
    disabled_at: str | None
    disabled_reason: Problem | None
    failing_since: str | None
    next_attempt_at: str | None
    last_error: Problem | None
    last_error_at: str | None
    last_success_at: str | None
    delivered: int
    refused: int
    created_at: str | None
    updated_at: str | None


class MadeSubscription(Discreet, SubscriptionAnswer, frozen=True, kw_only=True):
    """A subscription and its secret, which is shown this once."""

    secret: str


def answer(one: Subscription, caller: Caller | None = None) -> SubscriptionAnswer:
    """A subscription as the caller may see it; with none, as somebody who may change it."""
    waits = one.enabled and one.paused_until is not None
    url = one.url if caller is None or caller.may("write") else _host(one.url)
    return SubscriptionAnswer(
        id=one.id,
        name=one.name,
        url=url,
        project_id=one.project_id,
        types=one.types,
        systems=one.systems,
        connection_ids=one.connection_ids,
        states=one.states,
        healths=one.healths,
        has_secret=True,
        old_secret_until=moment(one.old_until),
        enabled=one.enabled,
        status="disabled" if not one.enabled else "failing" if waits else "active",
        disabled_at=moment(one.disabled_at),
        disabled_reason=one.disabled_reason,
        failing_since=moment(one.failing_since),
        next_attempt_at=moment(one.paused_until) if waits else None,
        last_error=one.last_error,
        last_error_at=moment(one.last_error_at),
        last_success_at=moment(one.last_success_at),
        delivered=one.delivered,
        refused=one.refused,
        created_at=moment(one.created_at),
        updated_at=moment(one.updated_at),
    )


def _host(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0].partition('?')[0]}{_HIDDEN}"
