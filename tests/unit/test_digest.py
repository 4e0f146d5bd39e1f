"""The hash that decides *unchanged*: equal but for volatile members, different for anything else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.digest import digest

PATHS = ("expand", "fields.lastViewed", "fields.watches.isWatching", "self")

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def body(**members: object) -> bytes:
    return msgspec.json.encode(members)


@given(st.dictionaries(st.text(max_size=6), values, max_size=5), values, values)
def test_a_volatile_member_never_matters(rest: dict[str, object], one: object, other: object) -> None:
    rest.pop("expand", None)
    assert digest(body(**rest, expand=one), PATHS) == digest(body(**rest, expand=other), PATHS)


@given(values, values)
def test_a_volatile_member_deep_inside_never_matters(one: object, other: object) -> None:
    def made(value: object) -> bytes:
        return body(id="1", fields={"summary": "x", "watches": {"count": 3, "isWatching": value}})

    assert digest(made(one), PATHS) == digest(made(other), PATHS)


@given(values, values)
def test_any_other_member_matters(one: object, other: object) -> None:
    def made(value: object) -> bytes:
        return body(expand="x", id="1", fields={"lastViewed": None, "summary": value})

    same = msgspec.json.encode(one) == msgspec.json.encode(other)
    assert (digest(made(one), PATHS) == digest(made(other), PATHS)) is same


def test_the_same_name_elsewhere_is_no_volatile_member() -> None:
    one = b'{"self":"a","fields":{"parent":{"self":"b"}}}'
    other = b'{"self":"a","fields":{"parent":{"self":"c"}}}'
    assert digest(one, PATHS) != digest(other, PATHS)


def test_a_member_that_is_there_differs_from_one_that_is_not_only_where_it_is_not_volatile() -> None:
    assert digest(b'{"id":"1"}', PATHS) != digest(b'{"id":"1","key":"a"}', PATHS)


@pytest.mark.parametrize(
    "odd", [b'{"fields":5}', b'{"fields":null}', b'{"fields":["x"]}', b'{"fields":"x"}', b"{}"]
)
def test_a_body_of_another_shape_has_a_hash_too(odd: bytes) -> None:
    assert len(digest(odd, PATHS)) == 16


def test_spaces_around_the_colon_do_not_hide_a_volatile_member() -> None:
    assert digest(b'{"expand" : "a", "id": 1}', PATHS) == digest(b'{"expand" : "b", "id": 1}', PATHS)


def test_without_volatile_members_every_byte_matters() -> None:
    assert digest(b'{"a":1}', ()) != digest(b'{"a": 1}', ())
