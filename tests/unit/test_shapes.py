"""The comparer of shapes finds what differs, and nothing else."""

import pytest

from tests.shapes import Maybe, assert_shape, differences

EXAMPLE = {
    "id": "1",
    "count": 2,
    "on": True,
    "at": "2019-01-01T00:00:00.000Z",
    "rows": [{"a": 1}],
    "no": None,
}
LIKE = {"id": "x", "count": 9, "on": False, "at": "2026-11-22T12:00:00.123Z", "rows": [{"a": 3}], "no": 5}


def test_an_answer_of_the_same_shape_passes_with_other_values() -> None:
    assert_shape(LIKE, EXAMPLE)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": 1}, "$.id is integer, and in the example string"),
        ({"count": True}, "$.count is boolean, and in the example integer"),
        ({"count": None}, "$.count is null, and in the example integer"),
        ({"at": "2026-11-22T12:00:00Z"}, "$.at is 2026-11-22T12:00:00Z, and in the example a time like"),
        ({"rows": []}, "$.rows is empty"),
        ({"rows": [{"a": 1}, {"b": 1}]}, "$.rows[1].a is missing"),
        ({"rows": {}}, "$.rows is object, and in the example array"),
    ],
)
def test_each_difference_is_told_with_its_place(change: dict[str, object], told: str) -> None:
    (found,) = differences(LIKE | change, EXAMPLE)
    assert found.startswith(told)


def test_a_missing_field_is_told() -> None:
    assert differences({}, {"id": 1}) == ["$.id is missing"]


def test_more_fields_are_allowed_unless_the_shape_is_to_be_exact() -> None:
    assert differences({"id": 1, "b": 1}, {"id": 1}) == []
    assert differences({"id": 1, "b": 1}, {"id": 1}, exact=True) == ["$.b is not in the example"]


def test_what_may_be_null_is_null_or_of_the_type_given() -> None:
    assert differences({"a": None}, {"a": Maybe("text")}) == []
    assert differences({"a": 1}, {"a": Maybe("text")}) == ["$.a is integer, and in the example string"]
