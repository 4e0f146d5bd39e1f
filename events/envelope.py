"""CloudEvents 1.0, structured JSON: how an event looks to everyone outside."""

from datetime import datetime

import msgspec

from store.database import to_text
from store.outbox import Event

STREAM = "tidegate:events"


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=False):
    """One event. `id` is unique and stays the same when it is sent again; `sequence` is per source."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    sequence: int
    datacontenttype: str
    data: msgspec.Raw


def dressed(event: Event) -> bytes:
    """The event as CloudEvents JSON."""
    return msgspec.json.encode(
        CloudEvent(
            specversion="1.0",
            id=event.uid,
            source=event.source,
            type=f"io.tidegate.{event.type}",
            time=to_text(event.at),
            sequence=event.sequence,
            datacontenttype="application/json",
            data=event.data,
        )
    )


class _Ping(msgspec.Struct, frozen=True):
    """The data of an event that only tries an address."""

    subscription_id: int
    name: str


def ping(uid: str, subscription_id: int, name: str, at: datetime) -> bytes:
    """An event, of no sequence, that tells a subscriber nothing but that events arrive."""
    data = msgspec.Raw(msgspec.json.encode(_Ping(subscription_id, name)))
    return dressed(Event(uid, "ping", 0, subscription_id, 0, at, data))
