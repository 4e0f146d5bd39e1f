"""The page that describes the API: plain HTML with its style in it, and no script."""

import base64
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from html import escape
from http import HTTPStatus
from typing import Any

import msgspec

from api.problems import CONTENT_TYPE
from api.routing import JSON

Json = dict[str, Any]

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --soft: #f3f5f8; --line: #d5dbe3;
  --faint: #5a6675; --link: #0b5cad; --GET: #0b6b46; --POST: #0b5cad; --PATCH: #8a5a00; --DELETE: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --paper: #12171e; --soft: #1b222c;
  --line: #323c49; --faint: #9aa7b7; --link: #7db8f5; --GET: #5fd0a0; --POST: #7db8f5; --PATCH: #e5b55c;
  --DELETE: #ff8f86; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
h1 { margin: 1rem 0 .25rem; }
h2 { margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { margin: 0; font-size: 1.05rem; }
h4 { margin: 1rem 0 .25rem; font-size: .9rem; color: var(--faint); }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { margin: .5rem 0; padding: .75rem; overflow-x: auto; background: var(--soft); border-radius: .375rem;
  overflow-wrap: normal; }
nav ul { columns: 16rem; padding: 0; list-style: none; }
nav li { break-inside: avoid; }
section { margin: 1.25rem 0; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem; }
dl { margin: .25rem 0; }
dt { margin-top: .5rem; }
dd { margin: 0 0 0 1rem; color: var(--faint); }
b.GET { color: var(--GET); } b.POST { color: var(--POST); } b.PATCH { color: var(--PATCH); }
b.DELETE { color: var(--DELETE); }
"""
_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
#: Nothing is loaded, run, sent or framed; the style is the one that is in the page.
POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src 'sha256-{_HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def rendered(document: Json) -> str:
    """The page of a description."""
    info = document["info"]
    title = f"The API of {info['title']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _text(info["description"]),
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>',
        _keys(),
        _contents(document),
        *(_chapter(document, tag) for tag in document["tags"]),
        _shapes(document),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _keys() -> str:
    forms = [
        "X-API-Key: $KEY",
        "Authorization: Bearer $KEY",
        "Authorization: Token $KEY",
        'Authorization: Token "$KEY"',
    ]
    shown = "".join(f"<li><code>{escape(form)}</code></li>" for form in forms)
    return f"<p>A key is sent in one of these headers:</p><ul>{shown}</ul>"


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _of_tag(document: Json, tag: str) -> list[tuple[str, str, Json]]:
    return [one for one in _operations(document) if tag in one[2]["tags"]]


def _contents(document: Json) -> str:
    parts = []
    for tag in document["tags"]:
        items = "".join(
            f'<li><a href="#{operation["operationId"]}">{escape(operation["summary"])}</a></li>'
            for _, _, operation in _of_tag(document, tag["name"])
        )
        parts.append(f"<h4>{escape(tag['name'].capitalize())}</h4><ul>{items}</ul>")
    return f'<nav aria-label="Contents">{"".join(parts)}</nav>'


def _chapter(document: Json, tag: Json) -> str:
    sections = [_section(document, *one) for one in _of_tag(document, tag["name"])]
    return "\n".join([f"<h2>{escape(tag['name'].capitalize())}</h2>", _text(tag["description"]), *sections])


def _section(document: Json, method: str, path: str, operation: Json) -> str:
    parts = [
        f'<section id="{operation["operationId"]}"><h3>{escape(operation["summary"])}</h3>',
        f'<p><b class="{method}">{method}</b> <code>{escape(path)}</code></p>',
        _text(operation["description"]),
        f"<pre>{escape(_curl(method, path, operation))}</pre>",
        _list("Parameters", (_parameter(one) for one in operation["parameters"])),
    ]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"][JSON].get("schema", {})
        parts.append(f"<h4>Body</h4><p>{_kind(schema)}</p>")
    answers = [(status, _resolved(document, one)) for status, one in operation["responses"].items()]
    parts.append(_list("Answers", (_answer(*one) for one in answers)))
    return "\n".join([*parts, "</section>"])


def _resolved(document: Json, answer: Json) -> Json:
    """An answer itself, where it is described once for all."""
    if "$ref" not in answer:
        return answer
    shared: Json = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return shared


def _list(title: str, entries: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{term}</dt><dd>{said}</dd>" for term, said in entries)
    return f"<h4>{title}</h4><dl>{items}</dl>" if items else ""


def _parameter(parameter: Json) -> tuple[str, str]:
    needed = "" if parameter["in"] != "query" or not parameter["required"] else ", needed"
    where = f"<code>{escape(parameter['name'])}</code> in the {parameter['in']}{needed}"
    term = f"{where}: {_kind(parameter['schema'])}"
    return term, _inline(parameter.get("description", ""))


def _answer(status: str, answer: Json) -> tuple[str, str]:
    kinds = [
        f"{escape(media)}: {_kind(content['schema'])}"
        for media, content in answer.get("content", {}).items()
        if media != CONTENT_TYPE
    ]
    kinds += [f"header <code>{escape(name)}</code>" for name in answer.get("headers", ())]
    return f"<b>{status}</b> {escape(HTTPStatus(int(status)).phrase)}", "<br>".join(
        [_inline(answer["description"]), *kinds]
    )


def _shapes(document: Json) -> str:
    parts = ["<h2>Shapes</h2>"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        members = schema.get("properties", {}).items()
        needed = schema.get("required", ())
        entries = [
            (
                f"<code>{escape(member)}</code>{', needed' if member in needed else ''}: {_kind(kind)}",
                _default(kind),
            )
            for member, kind in members
        ]
        head = f'<section id="shape-{escape(name)}"><h3>{escape(name)}</h3>'
        about = _text(schema.get("description", ""))
        parts.append(f"{head}{about}{_list('Members', entries)}</section>")
    return "\n".join(parts)


def _default(schema: Json) -> str:
    said = [_inline(schema["description"])] if "description" in schema else []
    if "default" in schema:
        said.append(f"Default: <code>{escape(_json(schema['default']))}</code>")
    return " ".join(said)


def _kind(schema: Json) -> str:
    """A type in few words."""
    match schema:
        case {"$ref": ref}:
            name = escape(ref.rpartition("/")[2])
            return f'<a href="#shape-{name}">{name}</a>'
        case {"anyOf": kinds}:
            return " or ".join(_kind(one) for one in kinds)
        case {"enum": values}:
            return " | ".join(f"<code>{escape(_json(value))}</code>" for value in values)
        case {"const": value}:
            return f"<code>{escape(_json(value))}</code>"
        case {"type": "array", "items": items}:
            return f"list of {_kind(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_kind(values)}"
        case {"type": kind}:
            return escape(" ".join([kind, *_bounds(schema)]))
        case _:
            return "any JSON"


def _bounds(schema: Json) -> Iterator[str]:
    if "format" in schema:
        yield f"({schema['format']})"
    if "minimum" in schema:
        yield f"from {schema['minimum']}"
    if schema.get("maximum", 2**63) < 2**63 - 1:
        yield f"to {schema['maximum']}"
    if "maxLength" in schema:
        yield f"of at most {schema['maxLength']} characters"


def _curl(method: str, path: str, operation: Json) -> str:
    """The request as a command line. `$TIDEGATE` is the address, such as http://127.0.0.1:8420."""
    url = re.sub(r"\{(\w+)\}", lambda name: "1" if name[1] == "id" else f"${name[1].upper()}", path)
    words = ["curl", *([] if method == "GET" else ["-X", method])]
    if operation["security"]:
        words.append('-H "X-API-Key: $KEY"')
    line = f'{" ".join(words)} "$TIDEGATE{url}"'
    example = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("example")
    if example is None:
        return line
    body = msgspec.json.format(msgspec.json.encode(example)).decode()
    return f"{line} \\\n  -H 'Content-Type: {JSON}' -d '{body}'"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph.strip())


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
