"""How a secret may be written as part of something longer: encoded, escaped, or within base64."""

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote_to_bytes

SHORTEST = 4  # characters; what is shorter would eat ordinary words
SHORTEST_BASE64 = 6  # a shorter piece of base64 is too likely to be something else

#: What stands for other characters: percent-encoding, escapes of JSON, entities of HTML.
_WRITTEN = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<unicode>(?:\\u[0-9A-Fa-f]{4})+)"
    r"|\\(?P<escaped>[/\"'\\])"
    r"|(?P<entity>&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});)"
)


def spellings(value: str) -> set[str]:
    """How a secret may look where all of it is written in the same way."""
    forms = {value, quote(value), quote(value, safe=""), quote_plus(value), value.replace(" ", "+")}
    forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    forms |= _inside_base64(value.encode("utf-8", "surrogatepass"))
    return {form for form in forms if len(form) >= SHORTEST}


def _inside_base64(data: bytes) -> set[str]:
    """The characters that are the same in the base64 of all that has `data` in it, such as `user:secret`.

    Three bytes are four characters, so there are three ways to fall; characters that depend on a
    neighbour are left out.
    """
    pieces = set()
    for before in range(3):
        first = (before * 8 + 5) // 6
        last = (before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            pieces.add(encode(bytes(before) + data).decode()[first:last])
    return {piece for piece in pieces if len(piece) >= SHORTEST_BASE64}


def plainer(text: str) -> tuple[str, list[int]]:
    """`text` with its encodings and escapes taken back once, and where in `text` each character of it, and
    the end, was written. A text without any comes back as it is.
    """
    pieces: list[str] = []
    origin: list[int] = []
    at = 0
    for found in _WRITTEN.finditer(text):
        pieces.append(text[at : found.start()])
        origin += range(at, found.start())
        for character, start in _meant(found):
            pieces.append(character)
            origin.append(start)
        at = found.end()
    pieces.append(text[at:])
    origin += range(at, len(text) + 1)
    return "".join(pieces), origin


def _meant(found: re.Match[str]) -> Iterator[tuple[str, int]]:
    """The characters that something stands for, each with the place where it begins."""
    at, written = found.start(), found[0]
    match found.lastgroup:
        case "percent":
            for character in unquote_to_bytes(written).decode("utf-8", "surrogateescape"):
                yield character, at
                at += len("%00") * len(character.encode("utf-8", "surrogateescape"))
        case "unicode":
            for character in json.loads(f'"{written}"'):
                yield character, at
                at += len("\\u0000") * (2 if character > "\uffff" else 1)
        case "escaped":
            yield found["escaped"], at
        case _:
            yield from ((character, at) for character in html.unescape(written))
