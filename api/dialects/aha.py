"""Aha!: integrations of the account and of its products, each of a service, made empty and then completed."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.structs import replace
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from api import edits
from api.access import Caller, require_account
from api.dialects.aha_answers import DIALECT, AhaItem, AhaList, AhaOne, AhaPagination, answer_of
from api.dialects.aha_services import (
    SERVICES,
    AhaNew,
    AhaWanted,
    given_of,
    kept_of,
    option,
    service_of,
    wanted_of,
)
from api.problems import not_found
from api.routing import Call, Route
from api.shapes import Nothing, Word, moment
from api.wanted import Wanted
from store import connections, projects
from store.connections import Connection
from store.projects import Project
from store.schema import connections as table

LARGEST_PAGE = 200


class AhaChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be different."""

    integration: AhaWanted


class AhaPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which page; `per_page` counts up to 200."""

    page: Annotated[int, Meta(ge=1, le=10**9)] = 1
    per_page: Annotated[int, Meta(ge=1, le=10**9)] = 30


async def create(call: Call[AhaNew, Nothing]) -> AhaOne:
    """Make an integration. Without a URL it is a draft, which says under `problem` what is missing.

    It is not enabled unless `enabled` says so. `product_id` puts it into a product, as the path does.
    """
    async with call.context.database.read() as connection:
        project = await _product(call, connection)
        if project is None and option(call.body, "product_id"):
            project = await _project(call.caller, connection, str(option(call.body, "product_id")))
        if project is None:
            require_account(call.caller)
        wanted = await wanted_of(call.context, connection, call.body, project)
    return answer_of(call.context, await edits.make(call.context, wanted, None), project)


async def change(call: Call[AhaChange, Nothing]) -> AhaOne:
    """Change an integration: enable it, or give it what it lacks."""
    async with call.context.database.read() as connection:
        found, project = await _found(call, connection)
    given = call.body.integration
    values = given_of(call.context, given)

    def merged(stored: Wanted) -> Wanted:
        if stored.project_id != found.project_id:
            raise not_found("integration", found.id)
        return replace(stored, **values, attributes=kept_of(call.context, stored, given))

    return answer_of(call.context, await edits.edit(call.context, found.id, merged), project)


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Remove an integration; its records stay."""
    async with call.context.database.read() as connection:
        found, _ = await _found(call, connection)
    await edits.remove(call.context, found.id, purge=False)


async def get(call: Call[Nothing, Nothing]) -> AhaOne:
    """An integration by its id. By the name of a service, which is deprecated, it is the oldest of that."""
    async with call.context.database.read() as connection:
        found, project = await _found(call, connection)
    return answer_of(call.context, found, project)


async def listed(call: Call[Nothing, AhaPage]) -> AhaList:
    """Integrations of a product, or those of the account, which are in none; ascending by id."""
    size, c = min(call.query.per_page, LARGEST_PAGE), table.c
    columns = (c.id, c.name, c.system, c.canonical, c.attributes, c.created_at)
    async with call.context.database.read() as connection:
        project = await _product(call, connection)
        inside = c.project_id.is_(None) if project is None else c.project_id == project.id
        filters = (c.deleted_at.is_(None), inside, *call.caller.limits(c.project_id))
        total = (
            await connection.execute(select(func.count()).select_from(table).where(*filters))
        ).scalar_one()
        query = select(*columns).where(*filters).order_by(c.id).limit(size)
        rows = await connection.execute(query.offset((call.query.page - 1) * size))
        items = [
            AhaItem(
                str(row.id),
                row.name,
                service_of(row.system, row.canonical, row.attributes),
                moment(row.created_at),
            )
            for row in rows
        ]
    return AhaList(items, AhaPagination(total, -(-total // size), call.query.page))


async def _product(call: Call[Any, Any], connection: AsyncConnection) -> Project | None:
    """The product in the path; None where there is none in it. Raises 404."""
    text = call.request.match_info.get("product_id")
    return None if text is None else await _project(call.caller, connection, text)


async def _project(caller: Caller, connection: AsyncConnection, text: str) -> Project:
    """A product by its id, or else by its key. Raises 404."""
    found = await projects.referred(connection, text)
    if found is None or not caller.sees(found.id):
        raise not_found("product", text)
    return found


async def _found(call: Call[Any, Any], connection: AsyncConnection) -> tuple[Connection, Project | None]:
    """The integration in the path, and the product that it is in. Raises 404."""
    project = await _product(call, connection)
    text = call.request.match_info["integration"]
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 19 else None
    else:
        number = await _oldest(call.caller, connection, project, text.replace("\0", ""))
    found = None if number is None else await connections.get(connection, number)
    elsewhere = found is not None and project is not None and found.project_id != project.id
    if found is None or elsewhere or not call.caller.sees(found.project_id):
        raise not_found("integration", text)
    if project is None and found.project_id is not None:
        project = await projects.get(connection, found.project_id)
    return found, project


async def _oldest(
    caller: Caller, connection: AsyncConnection, project: Project | None, service: str
) -> int | None:
    """The first that was made of a service, in a product or in the account."""
    c, (system, _) = table.c, SERVICES.get(service, (service, ""))
    inside = c.project_id.is_(None) if project is None else c.project_id == project.id
    query = select(c.id, c.canonical, c.attributes).order_by(c.id)
    query = query.where(c.system == system, c.deleted_at.is_(None), inside, *caller.limits(c.project_id))
    rows = (await connection.execute(query)).all()
    return next(
        (row.id for row in rows if service_of(system, row.canonical, row.attributes) == service), None
    )


_WRONG = {422: "Something does not fit; `errors` says what."}
_NO_PRODUCT = {**_WRONG, 404: "There is no such product."}
_EXAMPLE = {"integration": {"service_name": "zendesk", "enabled": True}}
_ENABLE = {"integration": {"enabled": True}}

ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        method="POST",
        path="/api/v1/integrations",
        summary="Make an integration of the account",
        permission="write",
        handler=create,
        body=AhaNew,
        query=Nothing,
        answer=AhaOne,
        idempotent=True,
        problems=_NO_PRODUCT,
        example=_EXAMPLE,
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/v1/integrations",
        summary="List the integrations of the account",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=AhaPage,
        answer=AhaList,
        problems=_WRONG,
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/v1/integrations/{integration}",
        summary="Get an integration",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=AhaOne,
        names={"integration": Word},
        dialect=DIALECT,
    ),
    Route(
        method="PUT",
        path="/api/v1/integrations/{integration}",
        summary="Change an integration",
        permission="write",
        by_project=True,
        handler=change,
        body=AhaChange,
        query=Nothing,
        answer=AhaOne,
        names={"integration": Word},
        problems=_WRONG,
        example=_ENABLE,
        dialect=DIALECT,
    ),
    Route(
        method="DELETE",
        path="/api/v1/integrations/{integration}",
        summary="Remove an integration",
        permission="write",
        by_project=True,
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
        names={"integration": Word},
        dialect=DIALECT,
    ),
    Route(
        method="POST",
        path="/api/v1/products/{product_id}/integrations",
        summary="Make an integration of a product",
        permission="write",
        by_project=True,
        handler=create,
        body=AhaNew,
        query=Nothing,
        answer=AhaOne,
        names={"product_id": Word},
        idempotent=True,
        problems=_NO_PRODUCT,
        example=_EXAMPLE,
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/v1/products/{product_id}/integrations",
        summary="List the integrations of a product",
        permission="read",
        by_project=True,
        handler=listed,
        body=Nothing,
        query=AhaPage,
        answer=AhaList,
        names={"product_id": Word},
        problems=_WRONG,
        dialect=DIALECT,
    ),
    Route(
        method="GET",
        path="/api/v1/products/{product_id}/integrations/{integration}",
        summary="Get an integration of a product",
        permission="read",
        by_project=True,
        handler=get,
        body=Nothing,
        query=Nothing,
        answer=AhaOne,
        names={"product_id": Word, "integration": Word},
        dialect=DIALECT,
    ),
    Route(
        method="PUT",
        path="/api/v1/products/{product_id}/integrations/{integration}",
        summary="Change an integration of a product",
        permission="write",
        by_project=True,
        handler=change,
        body=AhaChange,
        query=Nothing,
        answer=AhaOne,
        names={"product_id": Word, "integration": Word},
        problems=_WRONG,
        example=_ENABLE,
        dialect=DIALECT,
    ),
    Route(
        method="DELETE",
        path="/api/v1/products/{product_id}/integrations/{integration}",
        summary="Remove an integration of a product",
        permission="write",
        by_project=True,
        handler=remove,
        body=Nothing,
        query=Nothing,
        status=204,
        names={"product_id": Word, "integration": Word},
        dialect=DIALECT,
    ),
)
