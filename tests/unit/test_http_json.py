"""What a body must be to become a value, and what is done with hostile JSON."""

import msgspec
import pytest

from adapters.base import Unreadable
from adapters.http import Reply, decode
from adapters.reply import mended
from tests.servers import answer, client, reply, serving


class Envelope(msgspec.Struct):
    items: list[msgspec.Raw]


class Small(msgspec.Struct):
    id: str


class Number(msgspec.Struct):
    id: int


class Fraction(msgspec.Struct):
    id: float


def envelope(value: bytes) -> Reply:
    return reply(body=b'{"items":[{"id":' + value + b"}]}")


def test_a_record_is_handed_on_byte_by_byte() -> None:
    raw = decode(envelope(b'"\xc3\xa9\\u00e9" ,  "b": 1.0'), Envelope).items[0]
    assert bytes(raw) == b'{"id":"\xc3\xa9\\u00e9" ,  "b": 1.0}'


async def test_a_hundred_thousand_levels_are_refused_without_a_crash() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    async with serving(answer(body=b'{"items":[' + deep + b"]}")) as ours, client(ours.url) as http:
        got = await http.get("/x")
    for shape in (Envelope, Small, object):
        with pytest.raises(Unreadable):
            decode(got, shape)


BROKEN = {
    "nothing": b"",
    "cut": b'{"items":[{"id":"a"}',
    "more than one": b'{"items":[]} {}',
    "byte order mark": b'\xef\xbb\xbf{"items":[]}',
    "utf-16": '{"items":[]}'.encode("utf-16"),
    "no object": b"[]",
    "null": b"null",
    "no envelope key": b'{"issues":[]}',
    "wrong type": b'{"items":{}}',
    "html": b"<html>",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_what_does_not_fit_is_unreadable_and_names_the_path(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^/search answered 200"):
        decode(reply(body=body), Envelope)


# msgspec walks through a raw record too, so these spoil their page whatever the record's struct asks for.
SPOILS_THE_PAGE = {
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "leading zero": b"01",
    "bad escape": b'"\\x"',
    "control character": b'"\n"',
    "NUL byte": b'"\x00"',
    "not UTF-8": b'"\xff"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "trailing comma": b"1,",
}


@pytest.mark.parametrize("value", SPOILS_THE_PAGE.values(), ids=SPOILS_THE_PAGE.keys())
def test_what_is_no_json_spoils_its_page(value: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(envelope(value), Envelope)


@pytest.mark.parametrize(
    ("value", "shape"), [(b"9" * 100_000, Number), (b"1e400", Fraction)], ids=["digits", "exponent"]
)
def test_a_number_beyond_measure_spoils_only_its_record(value: bytes, shape: type) -> None:
    raw = decode(envelope(value), Envelope).items[0]
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw, type=shape)


def test_an_escaped_nul_reaches_the_adapter() -> None:
    raw = decode(envelope(b'"a\\u0000b"'), Envelope).items[0]
    assert msgspec.json.decode(raw, type=Small).id == "a\0b"


def test_a_repeated_member_counts_as_its_last() -> None:
    assert len(decode(reply(body=b'{"items":[1],"items":[2,3]}'), Envelope).items) == 2


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain", "", "x" * 5000])
def test_another_content_type_is_not_taken_for_json(kind: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(reply(body=b'{"items":[]}', Content_Type=kind), Envelope)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON;charset=UTF-8", "application/hal+json"]
)
def test_the_spellings_of_json_are_json(kind: str) -> None:
    assert decode(reply(body=b'{"items":[]}', Content_Type=kind), Envelope).items == []


def test_the_error_of_a_bad_body_does_not_hold_on_to_it() -> None:
    with pytest.raises(Unreadable) as caught:
        decode(envelope(b'"\xff"'), Envelope)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b'"cut \\ud83d"', b'"cut \\ufffd"'),
        (b'"\\uDE00 cut"', b'"\\ufffd cut"'),
        (b'"\\ud83d\\ud83d\\ude00"', b'"\\ufffd\\ud83d\\ude00"'),
        (b'"whole \\ud83d\\ude00"', b'"whole \\ud83d\\ude00"'),
        (b'"no escape \\\\ud83d"', b'"no escape \\\\ud83d"'),
        (b'"after a backslash \\\\\\ud83d"', b'"after a backslash \\\\\\ufffd"'),
        (b'"plain"', b'"plain"'),
    ],
)
def test_half_a_character_is_replaced_and_nothing_else_is(sent: bytes, kept: bytes) -> None:
    assert mended(sent) == kept
    msgspec.json.decode(kept)


async def test_an_answer_with_half_a_character_can_be_read() -> None:
    sent = b'{"items":[{"id":"1","text":"cut \\ud83d"}]}'
    async with serving(answer(body=sent)) as ours, client(ours.url) as http:
        got = await http.get("/x")
    assert len(decode(got, Envelope).items) == 1
