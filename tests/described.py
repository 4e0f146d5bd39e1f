"""Whether answers of the API are such as its description says."""

import re
from collections.abc import Mapping
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError

from api.openapi import Routes, describe

Json = dict[str, Any]


class Description:
    """A description to hold answers against. A path of `examined` was seen with those statuses."""

    def __init__(self, routes: Routes) -> None:
        self.document = describe(routes)
        self._paths = [
            (re.compile(re.sub(r"\\?\{\w+\\?\}", "[^/]+", re.escape(path))), path)
            for path in sorted(self.document["paths"], key=lambda path: path.count("{"))
        ]
        self._validators: dict[str, Draft202012Validator] = {}

    def operation(self, method: str, path: str) -> Json | None:
        """What is said of a method of a path; None where nothing is."""
        for pattern, template in self._paths:
            if pattern.fullmatch(path.partition("?")[0]):
                operation: Json | None = self.document["paths"][template].get(method.lower())
                return operation
        return None

    def wrong_with(
        self, method: str, path: str, status: int, headers: Mapping[str, str], answer: object
    ) -> str | None:
        """How an answer differs from what is said; None for one that does not, or of which nothing is."""
        operation = self.operation(method, path)
        if operation is None:
            return None if status in (404, 405) else f"{method} {path} is not described"
        said = self._resolved(operation["responses"].get(str(status)))
        if said is None:
            return f"{method} {path} answers {status}, which is not described"
        missing = [
            name for name in ("ETag", "Location") if name in headers and name not in said.get("headers", {})
        ]
        if missing:
            return f"{method} {path} answers {status} with {missing}, which is not described"
        media = headers.get("Content-Type", "").partition(";")[0]
        content = said.get("content", {})
        if not content and answer is None:
            return None
        if media not in content:
            return f"{method} {path} answers {status} as {media}, and described is {list(content)}"
        return self._against(content[media]["schema"], answer)

    def _resolved(self, answer: Json | None) -> Json | None:
        if answer is None or "$ref" not in answer:
            return answer
        shared: Json = self.document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        return shared

    def _against(self, schema: Json, answer: object) -> str | None:
        name = repr(schema)
        if name not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[name] = Draft202012Validator(whole, validate_formats=True)
        try:
            self._validators[name].validate(answer)
        except ValidationError as e:
            return f"{e.message} at {e.instance_path}"
        return None
