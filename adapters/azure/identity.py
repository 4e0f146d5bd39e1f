"""Who Azure DevOps takes us for, and what kind of installation it says it is."""

import msgspec

#: Who an anonymous caller is to Azure DevOps (seen in answers quoted by users).
NOBODY = ("00000000-0000-0000-0000-000000000000", "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa")


class _Property(msgspec.Struct, frozen=True):
    text: object = msgspec.field(name="$value", default=None)


class _Properties(msgspec.Struct, frozen=True):
    account: _Property = msgspec.field(name="Account", default=_Property())


class _User(msgspec.Struct, frozen=True, rename="camel"):
    id: str = ""
    descriptor: str = ""
    provider_display_name: str | None = None
    custom_display_name: str | None = None
    properties: _Properties = _Properties()


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a question for connection data, as far as we need it."""

    authenticated_user: _User
    deployment_type: str = ""

    @property
    def anonymous(self) -> bool:
        user = self.authenticated_user
        return user.id in ("", *NOBODY) or user.descriptor.startswith("System:PublicAccess")

    @property
    def hosted(self) -> bool:
        """Whether this is Azure DevOps Services, and not a server of one's own."""
        return self.deployment_type.casefold() == "hosted"

    @property
    def name(self) -> str:
        if self.anonymous:
            return "anonymous"
        user = self.authenticated_user
        name = user.custom_display_name or user.provider_display_name or user.id
        account = user.properties.account.text
        return f"{name} ({account})" if isinstance(account, str) and account != name else name
