"""Comparing an answer with a document's example of it: the same fields, of the same JSON types."""

import re

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


class Maybe:
    """In an example: null, or a value like this one."""

    def __init__(self, example: object) -> None:
        self.example = example


def assert_shape(answer: object, example: object, *, exact: bool = False) -> None:
    """Every field of the example is in the answer, with the same JSON type, at every depth.

    An array's items are each like one of the example's; where the example has some, the answer has some.
    Null in the example allows anything, `Maybe(value)` null or a value of its type. Times have the
    example's format. The answer may have more fields, unless `exact`.
    """
    wrong = differences(answer, example, exact=exact)
    assert not wrong, "\n".join(wrong)


def differences(answer: object, example: object, at: str = "$", *, exact: bool = False) -> list[str]:
    """What is otherwise in the answer than in the example, each with its place."""
    if isinstance(example, Maybe):
        return [] if answer is None else differences(answer, example.example, at, exact=exact)
    if example is None:
        return []
    if type(answer) is not type(example):
        return [f"{at} is {_name(answer)}, and in the example {_name(example)}"]
    if isinstance(answer, dict) and isinstance(example, dict):
        return _of_objects(answer, example, at, exact=exact)
    if isinstance(answer, list) and isinstance(example, list):
        return _of_arrays(answer, example, at, exact=exact)
    if isinstance(answer, str) and isinstance(example, str) and _TIME.match(example):
        same = _digits(answer) == _digits(example)
        return [] if same else [f"{at} is {answer}, and in the example a time like {example}"]
    return []


def _of_objects(answer: dict[str, object], example: dict[str, object], at: str, *, exact: bool) -> list[str]:
    found = [f"{at}.{name} is missing" for name in example if name not in answer]
    if exact:
        found += [f"{at}.{name} is not in the example" for name in answer if name not in example]
    for name in example.keys() & answer.keys():
        found += differences(answer[name], example[name], f"{at}.{name}", exact=exact)
    return sorted(found)


def _of_arrays(answer: list[object], example: list[object], at: str, *, exact: bool) -> list[str]:
    if not example:
        return []
    if not answer:
        return [f"{at} is empty, and in the example it is not"]
    found: list[str] = []
    for n, item in enumerate(answer):
        tried = [differences(item, one, f"{at}[{n}]", exact=exact) for one in example]
        closest = min(tried, key=len)
        found += closest
    return found


def _digits(text: str) -> str:
    return re.sub(r"\d", "9", text)


def _name(value: object) -> str:
    return "null" if value is None else _TYPES.get(type(value), type(value).__name__)
