"""The description of the API by OpenAPI 3.1, made of the routes and of the types that check requests."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta
from msgspec.structs import fields

from api.access import HEADERS
from api.idempotency import HEADER, PATTERN, REPLAYED
from api.problems import CONTENT_TYPE, ProblemDocument
from api.routing import JSON, Dialect, Route, path_names
from api.shapes import Id, Nothing

Json = dict[str, Any]
Routes = Sequence[Route[Any, Any]]

PathId = Annotated[Id, Meta(examples=[1])]
_REF = "#/components/schemas/{name}"
_ABOUT = """
Tidegate keeps a database in step with Jira, Jenkins and Azure DevOps. Every path under `/v1` needs an API
key in one of the headers below. Ids are integers, times are UTC such as `2026-01-02T03:04:05.000Z`, errors
are problem documents that name the field. Lists have a `limit` and a `cursor`: `next` of one page is the
`cursor` of the next, with all other parameters as they were.
"""
#: Modules that speak of the same thing.
_TAGS = {
    "checks": "connections",
    "debug_log": "connections",
    "hooks": "webhooks",
    "listing": "connections",
    "live": "events",
    "docs": "description",
    "sendings": "subscriptions",
}
#: When each of these is answered; what a route adds is its own.
_WHEN = {
    400: "The body is not JSON.",
    401: "The API key is missing, wrong or revoked.",
    403: "The API key does not permit this.",
    404: "There is no such thing, or it is not for this API key.",
    409: "Something that this refers to changed meanwhile: try again.",
    412: "It was changed since the ETag in If-Match was given.",
    413: "The body is larger than 1 MiB.",
    422: "Something does not fit; `errors` name each field.",
    429: "Too many wrong API keys, or too much of this at once: try again later.",
    503: "The database does not answer at the moment: try again.",
}
_WAIT = {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
_ETAG = {
    "description": "What If-Match and If-None-Match take.",
    "schema": {"type": "string", "pattern": '^".+"$'},
}
#: Members of answers that are times, as `api/shapes.py` prints them.
_TIMES = ("since", "at")


def describe(routes: Routes) -> Json:
    """The whole description, as values that JSON knows."""
    schemas, components = _schemas(routes)
    paths: Json = {}
    for route in routes:
        path = re.sub(r"\{(\w+)[^}]*\}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    _number_twins(operation for path in paths.values() for operation in path.values())
    for route in routes:
        _link(route, paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tidegate", "version": "1", "description": cleandoc(_ABOUT)},
        "servers": [{"url": "/"}],
        "tags": _tags(routes),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_name(status): _problem(status, _WHEN[status], schemas) for status in _WHEN},
            "securitySchemes": {name: dict(scheme) for name, scheme in HEADERS.items()},
        },
    }


def _schemas(routes: Routes) -> tuple[Mapping[Any, Json], Json]:
    """By type where it is described, and the descriptions."""
    types: list[type[msgspec.Struct]] = [ProblemDocument]
    for route in routes:
        worded = route.dialect.problem if route.dialect else None
        types += [one for one in (route.body, route.answer, worded) if one is not None and one is not Nothing]
    schemas, components = msgspec.json.schema_components(types, schema_hook=_any, ref_template=_REF)
    for component in components.values():
        for name, member in component.get("properties", {}).items():
            if name in _TIMES or name.endswith("_at"):
                _as_time(member)
    return dict(zip(types, schemas, strict=True)), components


def _any(kind: type) -> Json:
    """Whatever JSON there is: parameters of a remote, records as they are."""
    if kind is object:
        return {"description": "Any JSON."}
    raise NotImplementedError


def _as_time(member: Json) -> None:
    for one in member.get("anyOf", [member]):
        # A pattern says otherwise: other products' times may have no zone.
        if one.get("type") == "string" and "pattern" not in one:
            one["format"] = "date-time"


def _operation(route: Route[Any, Any], schemas: Mapping[Any, Json]) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "description": _description(route),
        "tags": [_tag(route)],
        "parameters": [*_of_path(route), *_of_query(route), *_of_headers(route)],
        "responses": _responses(route, schemas),
        "security": [{name: []} for name in HEADERS] if route.permission else [],
    }
    if route.raw:
        operation["requestBody"] = {"required": True, "content": {media: {} for media in route.raw}}
    if route.body is not Nothing:
        content: Json = {"schema": schemas[route.body]}
        if route.example is not None:
            content["example"] = route.example
        operation["requestBody"] = {"required": _is_needed(route.body), "content": {JSON: content}}
    return operation


def _description(route: Route[Any, Any]) -> str:
    texts = [cleandoc(one.__doc__ or "") for one in (route.handler, route.query) if one is not Nothing]
    if route.permission:
        limits = "" if route.by_project else ", and no limit to projects"
        texts.append(f"The API key needs the permission `{route.permission}`{limits}.")
    return "\n\n".join(text for text in texts if text)


def _is_needed(body: type[msgspec.Struct]) -> bool:
    """Whether `{}`, which is what no body stands for, would not do."""
    return any(field.required for field in fields(body))


def _of_path(route: Route[Any, Any]) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _schema(route.names.get(name, PathId))}
        for name in path_names(route.path)
    ]


def _of_query(route: Route[Any, Any]) -> list[Json]:
    _, components = msgspec.json.schema_components([route.query], ref_template=_REF)
    properties = components[route.query.__name__].get("properties", {})
    found = []
    for field in fields(route.query):
        schema = properties[field.encode_name]
        if field.default is UNSET:
            schema = {
                "anyOf": [{"const": "null"} if one == {"type": "null"} else one for one in schema["anyOf"]]
            }
        elif field.default is None:
            [schema] = [one for one in schema["anyOf"] if one != {"type": "null"}]
        parameter: Json = {"name": field.encode_name, "in": "query", "required": field.required}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        found.append({**parameter, "schema": schema})
    return found


def _of_headers(route: Route[Any, Any]) -> list[Json]:
    found = [_header(one.name, one.description, _schema(one.type)) for one in route.headers]
    tags = {"type": "string"}
    if route.idempotent:
        again = "Within 24 hours the same request with the same key is answered as it was, and done once."
        found.append(_header(HEADER, again, {"type": "string", "pattern": PATTERN}))
    if route.tagged and route.method == "GET":
        found.append(_header("If-None-Match", "ETags: with one that is still right there is no body.", tags))
    if route.tagged and route.method in ("PATCH", "DELETE"):
        found.append(_header("If-Match", "ETags: nothing is done unless one is still right.", tags))
    return found


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _responses(route: Route[Any, Any], schemas: Mapping[Any, Json]) -> Json:
    found: Json = {str(route.status): _success(route, schemas)}
    if route.tagged and route.method == "GET":
        found["304"] = {
            "description": "Nothing changed: If-None-Match names this ETag.",
            "headers": {"ETag": _ETAG},
        }
    if route.dialect is not None:
        return found | _worded(route, route.dialect, schemas)
    for status, when in sorted(problems(route).items()):
        shared = {"$ref": f"#/components/responses/{_name(status)}"}
        found[str(status)] = shared if when == _WHEN.get(status) else _problem(status, when, schemas)
    return found


def _worded(route: Route[Any, Any], dialect: Dialect, schemas: Mapping[Any, Json]) -> Json:
    """The problems of a dialect: with its statuses, in its form. What comes to one status is told at once."""
    texts: dict[int, list[str]] = {}
    for status, when in problems(route).items():
        texts.setdefault(dialect.statuses.get(status, status), []).append(when)
    content = {JSON: {"schema": schemas[dialect.problem]}}
    return {
        str(status): {"description": " Or: ".join(texts[status]), "content": content}
        for status in sorted(texts)
    }


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def _problem(status: int, when: str, schemas: Mapping[Any, Json]) -> Json:
    answer: Json = {"description": when, "content": {CONTENT_TYPE: {"schema": schemas[ProblemDocument]}}}
    if status in (429, 503):
        answer["headers"] = {"Retry-After": _WAIT}
    if status == 401:
        challenge = {"description": "That a key is needed.", "schema": {"type": "string"}}
        answer["headers"] = {"WWW-Authenticate": challenge}
    return answer


def _success(route: Route[Any, Any], schemas: Mapping[Any, Json]) -> Json:
    answer: Json = {"description": HTTPStatus(route.status).phrase}
    headers: Json = {}
    if route.status != 204:
        answer["content"] = {
            media: {"schema": schemas[route.answer] if media == JSON and route.answer else {"type": "string"}}
            for media in (one.partition(";")[0] for one in route.media)
        }
    if route.tagged and route.status != 204:
        headers["ETag"] = _ETAG
    if route.made:
        headers["Location"] = {"description": "The path of what was made.", "schema": {"type": "string"}}
    if route.idempotent:
        again = {
            "description": "This answer was given before.",
            "schema": {"type": "string", "const": "true"},
        }
        headers[REPLAYED] = again
    return {**answer, "headers": headers} if headers else answer


def problems(route: Route[Any, Any]) -> Mapping[int, str]:
    """Every problem that a route may answer, by status, and when it does."""
    statuses = [422] if route.query.__struct_config__.forbid_unknown_fields and not route.dialect else []
    if route.permission:
        statuses += [401, 403, 429, 503]
    if route.body is not Nothing:
        statuses += [400, 413]
    if path_names(route.path):
        statuses.append(404)
    if route.tagged and route.method in ("PATCH", "DELETE"):
        statuses.append(412)
    if route.permission and route.method == "PATCH":
        statuses.append(409)
    found = {status: _WHEN[status] for status in statuses} | dict(route.problems)
    if route.idempotent:
        under_way = f"A request with this {HEADER} is under way."
        found[409] = f"{found[409]} Or: {under_way}" if 409 in found else under_way
    return found


def _schema(kind: Any) -> Json:
    return msgspec.json.schema(kind)


def _tag(route: Route[Any, Any]) -> str:
    module = route.handler.__module__.rpartition(".")[2]
    return _TAGS.get(module, module)


def _tags(routes: Routes) -> list[Json]:
    """Each tag with what the module of its name says of itself."""
    modules = {_tag(route): route.handler.__module__ for route in reversed(routes)}
    modules |= {_tag(r): r.handler.__module__ for r in routes if r.handler.__module__.endswith(f".{_tag(r)}")}
    names = dict.fromkeys(_tag(route) for route in routes)
    return [
        {"name": name, "description": cleandoc(sys.modules[modules[name]].__doc__ or "")} for name in names
    ]


def _link(route: Route[Any, Any], paths: Json) -> None:
    """Say what can be asked of what a route makes."""
    if route.made is None:
        return
    answer = paths[route.path][route.method.lower()]["responses"][str(route.status)]
    answer["links"] = {
        operation["operationId"]: {
            "operationId": operation["operationId"],
            "parameters": {"id": "$response.body#/id"},
        }
        for path, methods in paths.items()
        if (path + "/").startswith(f"{route.made}/{{id}}/")
        for operation in methods.values()
    }


def _number_twins(operations: Iterable[Json]) -> None:
    """One handler may serve several paths; the ids of operations differ."""
    seen: dict[str, int] = {}
    for operation in operations:
        name = operation["operationId"]
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            operation["operationId"] = f"{name}_{seen[name]}"
