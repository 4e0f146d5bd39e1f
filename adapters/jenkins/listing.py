"""All jobs below a target: one request for each container, and for each view within a view."""

from datetime import datetime
from urllib.parse import quote, unquote

import msgspec

from adapters.base import AdapterError, Forbidden, NotFound, QueryRejected, Rejected, Target, Unreadable
from adapters.http import Reply
from adapters.jenkins.controller import Controller
from adapters.jenkins.jobs import ITEM_TREE, VIEW_TREE, Answer, Item, read_answer
from adapters.jenkins.together import together
from adapters.jenkins.urls import full_name, item_path

_DEEPEST = 30


class Listing(msgspec.Struct):
    """What a target holds, itself included if it is an item, by full name.

    `refused` are the containers that are listed but cannot be opened, with what Jenkins said, and `unopened`
    how many were left alone. `reply` is the first answer; `observed_at` is when it was asked for.
    """

    items: dict[str, Item]
    rejected: list[Rejected]
    refused: dict[str, AdapterError]
    reply: Reply
    unopened: int = 0

    @property
    def observed_at(self) -> datetime:
        return self.reply.sent_at


async def open_target(controller: Controller, target: Target) -> tuple[Answer, Reply]:
    """What the target itself answers: one request, and one for each view within the view.

    Raises `QueryRejected` for a path that left out a `job/`: what it leads to is not what was meant.
    """
    path = target.options["path"]
    if "view" in target.options:
        return await _open_view(controller, path, _DEEPEST)
    reply = await controller.ask(path, ITEM_TREE)
    answer = read_answer(reply, controller.base, full_name(path).rpartition("/")[0], nameless=not path)
    if "after" in target.options:
        _refuse_half_a_path(target, answer, unquote(unquote(target.options["after"])))
    return answer, reply


def _refuse_half_a_path(target: Target, answer: Answer, after: str) -> None:
    """`/job/team/app` is no page of the folder: it means `/job/team/job/app`."""
    for item in answer.children or ():
        if isinstance(item, Item) and unquote(item.full_name.rpartition("/")[2]) == after:
            raise QueryRejected(
                f"The URL leaves out job/ before '{after}', so that it names the whole folder.",
                f"Use {target.base}{item_path(item.full_name)} for that job, or {target.canonical} for the "
                "folder with all that is in it.",
            )


async def list_items(controller: Controller, target: Target, open_at_most: int | None = None) -> Listing:
    """The target and everything below it. Raises what the target itself is refused with.

    A container that vanished since its parent was listed is no error: what it held is gone too.
    """
    answer, reply = await open_target(controller, target)
    listing = Listing({}, [], {}, reply)
    waiting = _take(listing, answer, target_itself=True)
    opened = 0
    for _ in range(_DEEPEST):
        if open_at_most is not None and opened + len(waiting) > open_at_most:
            listing.unopened = len(waiting)
            return listing
        if not waiting:
            return listing
        opened += len(waiting)
        answers = await together(_open(controller, container) for container in waiting)
        waiting = [inner for found in answers for inner in _sort_out(listing, found)]
    raise Unreadable(f"Folders are nested more than {_DEEPEST} deep at {waiting[0].full_name}.")


async def _open_view(controller: Controller, path: str, deepest: int) -> tuple[Answer, Reply]:
    """The jobs of a view and of the views within it; one that holds only views says that it holds no jobs."""
    if not deepest:
        raise Unreadable(f"Views are nested more than {_DEEPEST} deep at {path}.")
    reply = await controller.ask(path, VIEW_TREE)
    holder = full_name(path.partition("/view/")[0])
    answer = read_answer(reply, controller.base, holder, nameless=True)
    inner = [f"{path}/view/{quote(name, safe='')}" for name in answer.views]
    for found, _ in await together(_open_view(controller, view, deepest - 1) for view in inner):
        answer = Answer(None, [*(answer.children or ()), *(found.children or ())])
    return answer, reply


Opened = tuple[Item, Answer | AdapterError | None]


async def _open(controller: Controller, container: Item) -> Opened:
    try:
        reply = await controller.ask(item_path(container.full_name), ITEM_TREE)
    except NotFound as missing:
        # What is still listed is not gone: something between us and it does not pass its name on.
        return container, missing if await controller.lists(container.full_name) else None
    except Forbidden as refusal:
        return container, refusal
    return container, read_answer(reply, controller.base, container.full_name.rpartition("/")[0])


def _sort_out(listing: Listing, opened: Opened) -> list[Item]:
    container, answer = opened
    if isinstance(answer, AdapterError):
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
