"""How each setting's text becomes a value. A ValueError says what is wrong and what is allowed."""

import re
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from config.secret import Secret

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
SHORTEST_TOMBSTONE_DAYS = 7
MOST_SLICES = 500
MOST_HOST_REQUESTS = 100
LEAST_HOST_RATE, MOST_HOST_RATE = 0.1, 1000
SHORTEST_SECRET_KEY = 16  # characters
SHORTEST_ADMIN_KEY = 8  # characters
DATABASE_URLS = "allowed are postgresql://user:password@host/database and sqlite:///path/to/file.db"
REDIS_URLS = "allowed are redis://host:6379/0, rediss://... and unix:///path/to/socket"
PUBLIC_URLS = "allowed are https://host, http://host:port, and either with a path"
PROXY_URLS = "allowed are http://host:port and https://host:port"
KUBERNETES = (
    "Kubernetes sets such names for a Service called tidegate: set enableServiceLinks: false on the pod"
)


def folder(text: str) -> Path:
    """An absolute path, `~` expanded; it need not exist."""
    if "\0" in text:
        raise ValueError("the path of a folder is needed")
    return Path(text).expanduser().absolute()


def host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", text):
        raise ValueError(f"'{text}' is not a host name or an IP address such as 127.0.0.1, ::1 or 0.0.0.0")
    return text


def port(text: str) -> int:
    if text.startswith("tcp://"):
        raise ValueError(f"'{text}' is not a port. {KUBERNETES}")
    number = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else -1
    if not 0 <= number <= 65535:
        raise ValueError(f"'{text}' is not a port: allowed is 0 (any free one) to 65535")
    return number


def workers(text: str) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
    if number < 1:
        raise ValueError(f"'{text}' is not a number of worker processes: allowed is a whole number from 1")
    return number


def yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError(f"'{text}' is neither yes nor no")
    return text.lower() == "yes"


def slices(text: str) -> int:
    return _between(text, 1, MOST_SLICES, "of slices")


def host_requests(text: str) -> int:
    return _between(text, 1, MOST_HOST_REQUESTS, "of requests at once")


def host_rate(text: str) -> float:
    """Requests a second; less than one is one in so many seconds."""
    number = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) else 0.0
    if not LEAST_HOST_RATE <= number <= MOST_HOST_RATE:
        raise ValueError(
            f"'{text}' is not a number of requests a second: allowed is {LEAST_HOST_RATE} to {MOST_HOST_RATE}"
        )
    return number


def _between(text: str, least: int, most: int, what: str) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else -1
    if not least <= number <= most:
        raise ValueError(f"'{text}' is not a number {what}: allowed is a whole number from {least} to {most}")
    return number


def log_level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"'{text}' is not a log level: allowed are {', '.join(LOG_LEVELS)}")
    return text.lower()


def schema(text: str) -> str:
    if not IDENTIFIER.fullmatch(text) or text.startswith("pg_"):
        raise ValueError(
            f"'{text}' is not a plain schema name: allowed are up to 63 lower-case letters, digits and "
            "underscores, not a digit first and not pg_"
        )
    return text


def networks(text: str) -> tuple[str, ...]:
    """CIDRs, separated by commas or spaces; a single address stands for itself."""
    return tuple(_network(each) for each in text.replace(",", " ").split())


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"'{text}' is not a network: allowed are CIDRs such as 10.0.0.0/8") from None
    raise ValueError(f"'{text}' is an address within a network: the network is {meant}")


def ca_file(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {path}: allowed is a file of CA certificates in PEM form")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as wrong:
        raise ValueError(f"{path} cannot be used as CA certificates in PEM form ({wrong.strerror})") from None
    return path


def tombstone_days(text: str) -> int:
    """Days; less than a week would be over before those who copy from here came by."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) < SHORTEST_TOMBSTONE_DAYS:
        raise ValueError(f"needed is a number of days, at least {SHORTEST_TOMBSTONE_DAYS}")
    return int(text)


def _days(least: int, most: int) -> Callable[[str], int]:
    """A number of days within bounds."""

    def days(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,5}", text) or not least <= int(text) <= most:
            raise ValueError(f"needed is a number of days, {least} to {most}")
        return int(text)

    return days


#: Webhooks out are tried for more than three days, and need their event for so long.
event_days = _days(4, 90)
sync_days = _days(1, 3650)
#: Senders repeat a webhook for days.
delivery_days = _days(4, 90)
audit_days = _days(30, 3650)
debug_log_days = _days(1, 30)
quarantine_days = _days(1, 365)


def public_url(text: str) -> str:
    """Without a slash at its end."""
    url = _split(text, PUBLIC_URLS)
    plain = not (url.query or url.username or url.password)
    if url.scheme not in ("http", "https") or not url.hostname or not plain or re.search(r"\s", text):
        raise ValueError(f"this is not the URL of a server: {PUBLIC_URLS}")
    return text.rstrip("/")


def database_url(text: str) -> Secret:
    url = _split(text, DATABASE_URLS)
    if url.scheme == "sqlite":
        if url.netloc or url.query or len(url.path) < 2 or url.path.startswith("/:"):
            raise ValueError(f"an SQLite URL names a file and nothing else: {DATABASE_URLS}")
    elif url.scheme != "postgresql" or len(url.path) < 2:
        raise ValueError(f"this is not the URL of a database that can be used: {DATABASE_URLS}")
    return Secret(text)


def redis_url(text: str) -> Secret:
    url = _split(text, REDIS_URLS)
    if not (url.scheme in ("redis", "rediss") and url.hostname) and not (url.scheme == "unix" and url.path):
        raise ValueError(f"this is not the URL of a Redis: {REDIS_URLS}")
    return Secret(text)


def proxy(text: str) -> Secret:
    url = _split(text, PROXY_URLS)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"this is not the URL of a proxy: {PROXY_URLS}")
    return Secret(text)


def _split(text: str, allowed: str) -> SplitResult:
    """The parts of a URL. What is wrong with one is not quoted: it may be the password."""
    try:
        url = urlsplit(text)
        if url.port == 0 or url.fragment:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"this is not a URL (special characters of a password are written as %40 for @): {allowed}"
        ) from None
    return url


def secret_key(text: str) -> Secret:
    """One key, or several separated by commas: the first seals, all open."""
    if any(len(key.strip()) < SHORTEST_SECRET_KEY for key in text.split(",")):
        raise ValueError(
            f"each key needs at least {SHORTEST_SECRET_KEY} characters; several are given as new,old"
        )
    return Secret(text)


def admin_key(text: str) -> Secret:
    if len(text) < SHORTEST_ADMIN_KEY or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"at least {SHORTEST_ADMIN_KEY} visible ASCII characters without spaces are needed")
    return Secret(text)
