"""The pages with which the simulated Jenkins, or what stands in front of it, answers instead of data."""

from aiohttp import web

OVERALL_READ = "hudson.model.Hudson.Read"

_WORDS = {OVERALL_READ: "Overall/Read"}


class Refused(Exception):
    """An answer that is a page for people instead of data."""

    def __init__(
        self,
        status: int,
        title: str,
        headers: dict[str, str] | None = None,
        more: str = "",
        *,
        by: str = "jenkins",
    ) -> None:
        """`by`: `jenkins` itself, its servlet `container`, or a `proxy` in front."""
        super().__init__(title)
        self.status = status
        self.title = title
        self.headers = headers or {}
        self.more = more
        self.by = by

    def page(self) -> web.Response:
        head = f"<html><head><title>{self.title}</title></head>"
        body = f"{head}<body>{self.title}{self.more}</body></html>"
        return web.Response(status=self.status, text=body, content_type="text/html", headers=self.headers)


def starting() -> Refused:
    """While it loads its jobs; the page comes before anything that could sign it (vendor's source)."""
    return Refused(503, "Please wait while Jenkins is getting ready to work ...", by="proxy")


def unreachable(status: int) -> Refused:
    """What nginx says while Jenkins does not answer (reported by users)."""
    return Refused(status, f"{status} Bad Gateway", more="<hr><center>nginx</center>", by="proxy")


def sent_to_login(url: str) -> Refused:
    """A single sign-on takes no notice of Basic: a redirect, or its page at once (reported by users)."""
    if url == "page":
        form = "<form method='post'><input name='user'><input type='password'></form>"
        return Refused(200, "Sign in", more=form, by="proxy")
    return Refused(302, "Found", {"Location": url}, by="proxy")


def wrong_secret(user: str) -> Refused:
    """Refused before Jenkins looks at the page, so by its servlet container (vendor's source)."""
    headers = {"WWW-Authenticate": 'Basic realm="Jenkins"'}
    return Refused(401, f"Error 401 Invalid password/token for user: {user}", headers, by="container")


def not_found(*, plain: bool) -> Refused:
    return Refused(
        404, "Error 404 Not Found" if plain else "Not Found", by="container" if plain else "jenkins"
    )


def missing(user: str | None, permission: str) -> Refused:
    """With the permission in headers and in a comment; strangers are sent to the login (recorded answer)."""
    account = user or "anonymous"
    headers = {
        "X-You-Are-Authenticated-As": account,
        "X-Required-Permission": permission,
        "X-Permission-Implied-By": "hudson.model.Hudson.Administer",
    }
    comment = f"<!-- Permission you need to have (but didn't): {permission} -->"
    if user is None:
        return Refused(403, "Authentication required", headers, f"{_TO_LOGIN}{comment}")
    words = _WORDS.get(permission, permission)
    return Refused(403, "Access Denied", headers, f"{account} is missing the {words} permission{comment}")


def to_login(path: str) -> Refused:
    return Refused(302, "Found", {"Location": f"/securityRealm/commenceLogin?from={path}"})


def discovered(user: str | None, name: str) -> Refused:
    """Who may only discover a job is asked to log in, known or not, and no header names the permission
    (vendor's source).
    """
    if user is None:
        return Refused(403, "Authentication required", {"X-You-Are-Authenticated-As": "anonymous"}, _TO_LOGIN)
    return Refused(403, "Access Denied", more=f"Please login to access job {name}")


_TO_LOGIN = "<meta http-equiv='refresh' content='1;url=/login?from=%2F'/>"
