"""All jobs below a target: one request for each container."""

from datetime import datetime

import msgspec

from adapters.base import Forbidden, NotFound, Rejected, Target, Unreadable
from adapters.http import Reply
from adapters.jenkins.controller import Controller
from adapters.jenkins.jobs import ITEM_TREE, Answer, Item, read_answer
from adapters.jenkins.together import together
from adapters.jenkins.urls import full_name, item_path

_DEEPEST = 30


class Listing(msgspec.Struct, frozen=True):
    """What a target holds, itself included if it is an item, by full name.

    `refused` are the containers that are listed but may not be opened, with what Jenkins said. `reply` is
    the first answer; `observed_at` is when it was asked for.
    """

    items: dict[str, Item]
    rejected: list[Rejected]
    refused: dict[str, Forbidden]
    reply: Reply

    @property
    def observed_at(self) -> datetime:
        return self.reply.sent_at


async def open_target(controller: Controller, target: Target) -> tuple[Answer, Reply]:
    """What the target itself answers, in one request."""
    path = target.options["path"]
    nameless = not path or "view" in target.options
    reply = await controller.ask(path, ITEM_TREE)
    holder = "" if nameless else full_name(path).rpartition("/")[0]
    if "view" in target.options:
        holder = full_name(path.partition("/view/")[0])
    return read_answer(reply, controller.base, holder, nameless=nameless), reply


async def list_items(controller: Controller, target: Target) -> Listing:
    """The target and everything below it. Raises what the target itself is refused with.

    A container that vanished since its parent was listed is no error: what it held is gone too.
    """
    answer, reply = await open_target(controller, target)
    listing = Listing({}, [], {}, reply)
    waiting = _take(listing, answer, target_itself=True)
    for _ in range(_DEEPEST):
        if not waiting:
            return listing
        opened = await together(_open(controller, container) for container in waiting)
        waiting = [inner for found in opened for inner in _sort_out(listing, found)]
    raise Unreadable(f"Folders are nested more than {_DEEPEST} deep at {waiting[0].full_name}.")


Opened = tuple[Item, Answer | Forbidden | None]


async def _open(controller: Controller, container: Item) -> Opened:
    try:
        reply = await controller.ask(item_path(container.full_name), ITEM_TREE)
    except NotFound:
        return container, None
    except Forbidden as refusal:
        return container, refusal
    return container, read_answer(reply, controller.base, container.full_name.rpartition("/")[0])


def _sort_out(listing: Listing, opened: Opened) -> list[Item]:
    container, answer = opened
    if isinstance(answer, Forbidden):
        listing.refused[container.full_name] = answer
        return []
    return _take(listing, answer) if answer else []


def _take(listing: Listing, answer: Answer, *, target_itself: bool = False) -> list[Item]:
    """Add what is new to the listing; the containers among it are still to be opened."""
    found = list(answer.children or [])
    new: list[Item] = []
    for item in found:
        if isinstance(item, Rejected):
            listing.rejected.append(item)
        elif item.full_name not in listing.items:
            listing.items[item.full_name] = item
            new.append(item)
    if target_itself and isinstance(answer.item, Item):
        listing.items.setdefault(answer.item.full_name, answer.item)
    elif target_itself and isinstance(answer.item, Rejected):
        listing.rejected.append(answer.item)
    return [item for item in new if item.mark is None]
