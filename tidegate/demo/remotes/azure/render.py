"""How Azure DevOps writes times, people and errors."""

from datetime import UTC, datetime
from functools import cache
from uuid import NAMESPACE_URL, uuid5

import msgspec


@cache
def guid(*names: object) -> str:
    """The same GUID for the same names, always."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, names))))


def time_text(moment: datetime) -> str:
    """Trailing zeros of the fraction are dropped, and the point with them (seen in recorded answers)."""
    text = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}".rstrip("0").rstrip(".")
    return f"{text}Z"


class Person(msgspec.Struct, frozen=True):
    """Somebody with an account."""

    name: str
    mail: str

    @property
    def id(self) -> str:
        return guid("person", self.mail)

    def reference(self, organisation: str) -> dict[str, object]:
        """The identity object that fields hold since version 5.0 (seen in recorded answers)."""
        descriptor = f"aad.{self.id.replace('-', '')}"
        avatar = f"https://dev.azure.com/{organisation}/_apis/GraphProfile/MemberAvatars/{descriptor}"
        return {
            "displayName": self.name,
            "url": f"https://spsprodweu1.vssps.visualstudio.com/A{guid(organisation)}/_apis/Identities/{self.id}",
            "_links": {"avatar": {"href": avatar}},
            "id": self.id,
            "uniqueName": self.mail,
            "imageUrl": avatar,
            "descriptor": descriptor,
        }


class Refusal(Exception):
    """An answer that is an error; without a type it is one of routing, not of the service."""

    def __init__(self, status: int, message: str, type_key: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type_key = type_key

    @property
    def body(self) -> bytes:
        """The error envelope (seen in recorded answers)."""
        return msgspec.json.encode(
            {
                "$id": "1",
                "innerException": None,
                "message": self.message,
                "typeName": f"Microsoft.VisualStudio.Services.{self.type_key}, Microsoft.VisualStudio",
                "typeKey": self.type_key,
                "errorCode": 0,
                "eventId": 3000,
            }
        )


def no_project(name: str) -> Refusal:
    """Words and type of the recorded refusal."""
    return Refusal(
        404,
        f"TF200016: The following project does not exist: {name}. Verify that the name of the project is "
        "correct and that the project exists on the specified Azure DevOps Server.",
        "ProjectDoesNotExistWithNameException",
    )


def no_route(path: str) -> Refusal:
    """Words of the recorded refusal."""
    return Refusal(404, f"The controller for path '{path}' was not found or does not implement IController.")
