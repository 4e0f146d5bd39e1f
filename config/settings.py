"""What an operator sets: environment variables over tidegate.toml, checked before anything starts."""

import difflib
import os
import secrets
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from config import values
from config.failpoints import FAILPOINT, Armed
from config.secret import Secret

PREFIX = "TIDEGATE_"
TEST_PREFIX = "TIDEGATE_TEST_"  # what the tests are told, nothing of ours
CONFIG = "TIDEGATE_CONFIG"  # where the file is, if it is not ./tidegate.toml
DEFAULT_FILE = Path("tidegate.toml")
FROM_FILE = "_file"
MOST_SQLITE_WORKERS = 2
#: Who listens on all addresses is reached on this machine at these.
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown, not bound

T = TypeVar("T")


class SettingsError(Exception):
    """The settings cannot be used: the message names the variable, what is wrong and what is allowed."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings. What may hold a password is a Secret, so that no repr shows it."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8420
    public_url: str | None = None
    database_url: Secret | None = None
    database_schema: str = "tidegate"
    redis_url: Secret | None = None
    secret_key: Secret | None = None
    admin_key: Secret | None = None
    allow_networks: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: Secret | None = None
    log_level: str = "info"
    workers: int = 1
    slices: int = 40
    host_requests: int | None = None
    host_rate: float | None = None
    keep_tombstones: int | None = None
    keep_events: int = 7
    keep_syncs: int = 90
    keep_deliveries: int = 7
    keep_audit: int = 400
    keep_debug_log: int = 7
    keep_quarantine: int = 30
    migrate: bool = True

    @property
    def is_sqlite(self) -> bool:
        return self.database_url is None or urlsplit(self.database_url.reveal()).scheme == "sqlite"

    @property
    def async_database_url(self) -> Secret:
        """The database as SQLAlchemy's async engine wants it; if unset, the file in the data folder."""
        if self.database_url is None:
            return Secret(f"sqlite+aiosqlite:///{quote(str(self.data_dir / 'tidegate.db'))}")
        address, _, query = self.database_url.reveal().partition("?")
        _, _, rest = address.partition(":")
        if self.is_sqlite:
            return Secret(f"sqlite+aiosqlite:{rest}")
        # asyncpg's name for what PostgreSQL's own clients, and so most URLs, call sslmode.
        pairs = [("ssl" if name == "sslmode" else name, value) for name, value in parse_qsl(query)]
        return Secret(f"postgresql+asyncpg:{rest}" + (f"?{urlencode(pairs)}" if pairs else ""))

    @property
    def reached_at(self) -> str:
        """Where others reach the API: as stated, else where it listens, seen from this machine."""
        if self.public_url is not None:
            return self.public_url
        shown = ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{shown}]:{self.port}" if ":" in shown else f"http://{shown}:{self.port}"

    def secret_texts(self) -> tuple[str, ...]:
        """Every key and password in these settings, for the log redactor; nothing else is done with them."""
        texts = [each.reveal() for each in (self.secret_key, self.admin_key) if each is not None]
        texts += [key.strip() for text in texts for key in text.split(",")]
        for each in (self.database_url, self.redis_url, self.proxy):
            url = urlsplit(each.reveal() if each is not None else "")
            texts += [value for name, value in parse_qsl(url.query) if name == "password"]
            texts += [url.password, unquote(url.password)] if url.password else []
        return tuple(texts)


NAMES = Settings.__struct_fields__


class _Given(msgspec.Struct, frozen=True):
    """What somebody wrote for one setting, and where, in words for a message."""

    text: str
    origin: str


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """The settings of this process; SettingsError if any name or value is wrong.

    Variables win over the file: `file`, else the one TIDEGATE_CONFIG names, else `tidegate.toml` in the
    working folder if there is one. `NAME_FILE` gives a value as the content of a file. An empty variable
    is the same as none.
    """
    given = _from_file(_settings_file(environ, file)) | _from_environ(environ)
    data_dir = _value(given, "data_dir", values.folder, None) or values.folder("~/.local/share/tidegate")
    settings = Settings(
        data_dir=data_dir,
        host=_value(given, "host", values.host, "127.0.0.1"),
        port=_value(given, "port", values.port, 8420),
        public_url=_value(given, "public_url", values.public_url, None),
        database_url=_value(given, "database_url", values.database_url, None),
        database_schema=_value(given, "database_schema", values.schema, "tidegate"),
        redis_url=_value(given, "redis_url", values.redis_url, None),
        secret_key=_value(given, "secret_key", values.secret_key, None),
        admin_key=_value(given, "admin_key", values.admin_key, None),
        allow_networks=_value(given, "allow_networks", values.networks, ()),
        ca_file=_value(given, "ca_file", values.ca_file, None),
        proxy=_value(given, "proxy", values.proxy, None),
        log_level=_value(given, "log_level", values.log_level, "info"),
        workers=_value(given, "workers", values.workers, 1),
        slices=_value(given, "slices", values.slices, 40),
        host_requests=_value(given, "host_requests", values.host_requests, None),
        host_rate=_value(given, "host_rate", values.host_rate, None),
        keep_tombstones=_value(given, "keep_tombstones", values.tombstone_days, None),
        keep_events=_value(given, "keep_events", values.event_days, 7),
        keep_syncs=_value(given, "keep_syncs", values.sync_days, 90),
        keep_deliveries=_value(given, "keep_deliveries", values.delivery_days, 7),
        keep_audit=_value(given, "keep_audit", values.audit_days, 400),
        keep_debug_log=_value(given, "keep_debug_log", values.debug_log_days, 7),
        keep_quarantine=_value(given, "keep_quarantine", values.quarantine_days, 30),
        migrate=_value(given, "migrate", values.yes_or_no, True),
    )
    if settings.is_sqlite and settings.workers > MOST_SQLITE_WORKERS:
        raise SettingsError(
            f"{given['workers'].origin}: SQLite serves at most {MOST_SQLITE_WORKERS} worker processes; "
            "for more, set TIDEGATE_DATABASE_URL to a PostgreSQL database"
        )
    return settings


def _value(given: Mapping[str, _Given], name: str, parse: Callable[[str], T], default: T) -> T:
    found = given.get(name)
    if found is None:
        return default
    try:
        return parse(found.text)
    except ValueError as wrong:
        raise SettingsError(f"{found.origin}: {wrong}") from None


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    ours = {
        name.removeprefix(PREFIX).lower(): _Given(text, name)
        for name, text in environ.items()
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in (CONFIG, FAILPOINT)
    }
    _refuse_unknown(ours)
    if environ.get(FAILPOINT):
        _value({"": _Given(environ[FAILPOINT], FAILPOINT)}, "", Armed, None)
    return _resolved({name: each for name, each in ours.items() if each.text})


def _settings_file(environ: Mapping[str, str], file: Path | None) -> Path | None:
    if file is None and environ.get(CONFIG):
        file = Path(environ[CONFIG]).expanduser()
    if file is not None:
        return file
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _from_file(path: Path | None) -> dict[str, _Given]:
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as wrong:
        raise SettingsError(f"{CONFIG}: {path} cannot be read ({wrong.strerror})") from None
    except ValueError as wrong:
        raise SettingsError(f"{path} is not a TOML file: {wrong}") from None
    written = {}
    for name, value in content.items():
        origin = f"{PREFIX}{name.upper()} ({name} in {path.name})"
        written[name] = _Given(_as_text(value, origin), origin)
    _refuse_unknown(written)
    return _resolved(written)


def _as_text(value: object, origin: str) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise SettingsError(f"{origin}: a text, a whole number or a list of texts is needed")


def _refuse_unknown(given: Mapping[str, _Given]) -> None:
    known = {*NAMES, *(name + FROM_FILE for name in NAMES)}
    for name, each in given.items():
        if name in known:
            continue
        if name.startswith(("service_", "port_")):
            raise SettingsError(f"{each.origin} is not a setting. {values.KUBERNETES}")
        close = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"did you mean {PREFIX}{close[0].upper()}? " if close else ""
        allowed = ", ".join(PREFIX + name.upper() for name in NAMES)
        raise SettingsError(f"{each.origin} is not a setting: {meant}allowed are {allowed}")


def _resolved(given: Mapping[str, _Given]) -> dict[str, _Given]:
    """The same with each NAME_FILE replaced by the NAME that is in that file."""
    resolved = {name: each for name, each in given.items() if name in NAMES}
    for name, each in given.items():
        if name in NAMES:
            continue
        plain = name.removesuffix(FROM_FILE)
        if plain in resolved:
            raise SettingsError(f"{resolved[plain].origin} and {each.origin} are both given: allowed is one")
        resolved[plain] = _Given(_content(each), each.origin)
    return resolved


def _content(given: _Given) -> str:
    path = Path(given.text).expanduser()
    try:
        text = path.read_text("utf-8").rstrip("\r\n")
    except OSError as wrong:
        raise SettingsError(f"{given.origin}: {path} cannot be read ({wrong.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{given.origin}: {path} does not hold UTF-8 text") from None
    if not text:
        raise SettingsError(f"{given.origin}: {path} is empty")
    return text


def open_data_dir(settings: Settings) -> Path:
    """The data folder, made with mode 0700; an existing one is closed to others if it is ours alone."""
    path = settings.data_dir
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as wrong:
        raise SettingsError(f"TIDEGATE_DATA_DIR: {path} cannot be made ({wrong.strerror})") from None
    mode = path.stat().st_mode
    # A folder with the sticky bit, such as /tmp, is everyone's; a mounted one may not be ours to change.
    if stat.S_IMODE(mode) & 0o077 and not mode & stat.S_ISVTX:
        with suppress(PermissionError):
            path.chmod(0o700)
    return path


def secret_key(settings: Settings) -> Secret:
    """The keys as given, or for the embedded database the one in `DATA_DIR/secret.key`, made if need be.

    Several processes that start at once get the same key. With a database URL a missing key is refused:
    a key made here would be lost with this machine, and the secrets in that database with it.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    if settings.database_url is not None:
        raise SettingsError(
            "TIDEGATE_SECRET_KEY: needed with TIDEGATE_DATABASE_URL, for it opens the secrets stored there; "
            f"allowed is a text of at least {values.SHORTEST_SECRET_KEY} characters; all processes share it"
        )
    open_data_dir(settings)
    key, _ = _kept(secret_key_file(settings))
    return key


def vault_keys(settings: Settings) -> list[Secret]:
    """The keys of the vault, the newest first: all of them open, and the one the database names seals."""
    return [Secret(key.strip()) for key in secret_key(settings).reveal().split(",")]


def keys_now(settings: Settings) -> list[Secret]:
    """The same as they are kept by now; none where the file is gone, which does not make another."""
    made_here = settings.secret_key is None and settings.database_url is None
    return [] if made_here and not secret_key_file(settings).is_file() else vault_keys(settings)


def secret_key_file(settings: Settings) -> Path:
    """Where the keys are that are made here, for the embedded database."""
    return settings.data_dir / "secret.key"


def admin_key(settings: Settings) -> tuple[Secret, bool]:
    """The administrator's API key, and whether it was made just now: then in `DATA_DIR/admin.key`."""
    if settings.admin_key is not None:
        return settings.admin_key, False
    return _kept(open_data_dir(settings) / "admin.key")


def _kept(path: Path) -> tuple[Secret, bool]:
    made = not path.exists() and _make(path)
    try:
        text = path.read_text("utf-8").strip()
    except OSError as wrong:
        raise SettingsError(f"TIDEGATE_DATA_DIR: {path} cannot be read ({wrong.strerror})") from None
    if not text:
        raise SettingsError(
            f"TIDEGATE_DATA_DIR: {path} is empty; put the key back, or remove the file for a new one"
        )
    return Secret(text), made


def _make(path: Path) -> bool:
    """Make the file with a new random key, whole or not at all; False if another process was faster."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as draft:
            draft.write(secrets.token_urlsafe(32) + "\n")
            draft.flush()
            os.fsync(draft.fileno())
            os.link(draft.name, path)
    except FileExistsError:
        return False
    except OSError as wrong:
        raise SettingsError(f"TIDEGATE_DATA_DIR: {path} cannot be made ({wrong.strerror})") from None
    return True
