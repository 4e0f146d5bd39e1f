"""The settings file, the data folder, the keys in it, and the networks that may be reached."""

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path

from config.settings import CONFIG, DEFAULT_FILE, Settings
from tidegate.doctor.finding import Finding, fail, ok, warn

#: Free space in the data folder: little, and too little to go on.
LITTLE = 1024**3
TOO_LITTLE = 100 * 1024**2
#: A network of private addresses that is larger than this is most likely a slip.
WIDEST = {4: 8, 6: 16}


def settings_file(environ: Mapping[str, str]) -> Finding:
    """Which file the settings come from, and whether others may read it."""
    named = environ.get(CONFIG)
    path = Path(named).expanduser() if named else DEFAULT_FILE
    if not path.is_file():
        if named:
            return fail("settings file", f"{path} is not there.", f"Put it there, or unset {CONFIG}.")
        return ok("settings file", "None: the settings are environment variables.")
    if _open_to_others(path) and any(word in path.read_text("utf-8", "replace") for word in ("_key", "://")):
        return warn(
            "settings file", f"{path.absolute()} may be read by others.", f"chmod 600 {path.absolute()}"
        )
    return ok("settings file", f"{path.absolute()}")


def folder(settings: Settings) -> Sequence[Finding]:
    """The data folder: there, ours, closed to others, with room."""
    path = settings.data_dir
    if not path.is_dir():
        return [warn("data folder", f"{path} is not there yet.", "The first start makes it.")]
    found = []
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        found.append(
            fail("data folder", f"{path} cannot be written to by this user.", "Give it to this user.")
        )
    elif _open_to_others(path):
        found.append(warn("data folder", f"{path} may be looked into by others.", f"chmod 700 {path}"))
    else:
        found.append(ok("data folder", f"{path}"))
    free = shutil.disk_usage(path).free
    said = f"{free / 1024**3:.1f} GiB are free in {path}."
    more = "Make room: without it nothing can be stored."
    if free < TOO_LITTLE:
        found.append(fail("disk", said, more))
    else:
        found.append(warn("disk", said, more) if free < LITTLE else ok("disk", said))
    return found


def keys(settings: Settings) -> Sequence[Finding]:
    """The files that hold keys: for us alone."""
    found = []
    for name, given in (("secret.key", settings.secret_key), ("admin.key", settings.admin_key)):
        path = settings.data_dir / name
        if given is not None:
            found.append(ok(name, "Given by the settings."))
        elif not path.is_file():
            if settings.database_url is None or name == "admin.key":
                found.append(warn(name, f"{path} is not there yet.", "The first start makes it."))
        elif _open_to_others(path):
            found.append(fail(name, f"{path} may be read by others.", f"chmod 600 {path}"))
        else:
            found.append(ok(name, f"{path}"))
    return found


def networks(settings: Settings) -> Finding:
    """The private networks that adapters may reach."""
    if not settings.allow_networks:
        return ok("networks", "Private addresses are refused: TIDEGATE_ALLOW_NETWORKS lists none.")
    said = f"Private networks that may be reached: {', '.join(settings.allow_networks)}."
    known = [ip_network(text, strict=False) for text in settings.allow_networks]
    wide = [str(one) for one in known if one.prefixlen < WIDEST[one.version]]
    if wide:
        advice = f"{', '.join(wide)} is wider than any private network: list only those with your servers."
        return warn("networks", said, advice)
    return ok("networks", said)


def _open_to_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
