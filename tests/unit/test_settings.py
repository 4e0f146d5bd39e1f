"""Settings: what may be written where, what is refused and in which words, and that no secret is in them."""

import copy
import json
import pickle
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.engine import make_url

from config.secret import MASK, Secret
from config.settings import (
    Settings,
    SettingsError,
    admin_key,
    load,
    open_data_dir,
    secret_key,
    vault_keys,
)

CANARY = "canary-7f3a9c-secret"
POSTGRES = "postgresql://tide:hunter2secret@db.example:5432/tidegate"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def toml(folder: Path, text: str) -> Path:
    path = folder / "tidegate.toml"
    path.write_text(text)
    return path


def refusal(environ: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        load(environ, file)
    assert refused.value.__cause__ is None
    return str(refused.value)


def test_a_secret_shows_its_text_only_when_asked() -> None:
    secret = Secret(CANARY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", format(secret, ">12"), repr([secret])]
    assert secret.reveal() == CANARY
    assert all(MASK in each and CANARY not in each for each in shown)


def test_a_secret_refuses_every_way_of_being_written_down() -> None:
    secret = Secret(CANARY)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError):
        vars(secret)


def test_secrets_are_equal_by_their_text_and_can_be_copied() -> None:
    secret = Secret(CANARY)
    assert secret == Secret(CANARY)
    assert secret != Secret(CANARY + "x")
    assert secret != CANARY
    assert copy.deepcopy({"key": secret})["key"] == secret


def test_without_anything_set_the_defaults_hold(tmp_path: Path) -> None:
    with chdir(tmp_path):
        settings = load({"HOME": "/x", "PATH": "/bin"})
    assert settings == Settings(data_dir=Path.home() / ".local/share/tidegate")


def test_the_documented_defaults() -> None:
    settings = Settings(data_dir=Path("/data"))
    assert (settings.host, settings.port, settings.database_schema) == ("127.0.0.1", 8420, "tidegate")
    assert (settings.allow_networks, settings.log_level, settings.workers) == ((), "info", 1)


@pytest.mark.parametrize(
    ("given", "reached"),
    [
        ({}, "http://127.0.0.1:8420"),
        ({"host": "0.0.0.0", "port": 9000}, "http://127.0.0.1:9000"),
        ({"host": "::1"}, "http://[::1]:8420"),
        ({"public_url": "https://tidegate.example/gate"}, "https://tidegate.example/gate"),
    ],
)
def test_others_reach_the_api_where_it_is_said_or_where_it_listens(
    given: dict[str, str | int], reached: str
) -> None:
    assert msgspec.convert({"data_dir": Path("/data"), **given}, Settings).reached_at == reached


def test_every_variable_reaches_its_setting(tmp_path: Path) -> None:
    settings = load(
        {
            "TIDEGATE_DATA_DIR": str(tmp_path),
            "TIDEGATE_HOST": "0.0.0.0",
            "TIDEGATE_PORT": "0",
            "TIDEGATE_PUBLIC_URL": "https://tidegate.example/",
            "TIDEGATE_DATABASE_URL": POSTGRES,
            "TIDEGATE_DATABASE_SCHEMA": "tide_2",
            "TIDEGATE_REDIS_URL": "rediss://:pw@redis.example:6380/1",
            "TIDEGATE_SECRET_KEY": "k" * 16,
            "TIDEGATE_ADMIN_KEY": "a" * 8,
            "TIDEGATE_ALLOW_NETWORKS": "10.0.0.0/8, 192.168.1.7 fd00::/8",
            "TIDEGATE_PROXY": "http://user:pw@proxy.example:3128",
            "TIDEGATE_LOG_LEVEL": "DEBUG",
            "TIDEGATE_WORKERS": "8",
            "TIDEGATE_SLICES": "20",
            "TIDEGATE_HOST_REQUESTS": "3",
            "TIDEGATE_HOST_RATE": "0.5",
            "TIDEGATE_KEEP_TOMBSTONES": "30",
            "TIDEGATE_KEEP_EVENTS": "14",
        }
    )
    assert settings == Settings(
        data_dir=tmp_path,
        host="0.0.0.0",
        port=0,
        public_url="https://tidegate.example",
        database_url=Secret(POSTGRES),
        database_schema="tide_2",
        redis_url=Secret("rediss://:pw@redis.example:6380/1"),
        secret_key=Secret("k" * 16),
        admin_key=Secret("a" * 8),
        allow_networks=("10.0.0.0/8", "192.168.1.7/32", "fd00::/8"),
        proxy=Secret("http://user:pw@proxy.example:3128"),
        log_level="debug",
        workers=8,
        slices=20,
        host_requests=3,
        host_rate=0.5,
        keep_tombstones=30,
        keep_events=14,
    )


@pytest.mark.parametrize("days", ["6", "-7", "7.5", "never", "999999"])
def test_tombstones_are_kept_for_a_week_at_least(days: str) -> None:
    assert "at least 7" in refusal({"TIDEGATE_KEEP_TOMBSTONES": days})


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("KEEP_EVENTS", 4, 90),
        ("KEEP_SYNCS", 1, 3650),
        ("KEEP_DELIVERIES", 4, 90),
        ("KEEP_AUDIT", 30, 3650),
        ("KEEP_DEBUG_LOG", 1, 30),
        ("KEEP_QUARANTINE", 1, 365),
    ],
)
def test_what_is_kept_is_kept_for_days_within_bounds(name: str, least: int, most: int) -> None:
    for days in (least, most):
        assert getattr(load({f"TIDEGATE_{name}": str(days)}), name.lower()) == days
    for wrong in (least - 1, most + 1, "1.5", "for ever"):
        assert f"{least} to {most}" in refusal({f"TIDEGATE_{name}": str(wrong)})


def test_a_variable_wins_over_the_file_and_an_empty_one_does_not(tmp_path: Path) -> None:
    file = toml(tmp_path, 'port = 9000\nhost = "::1"\nallow_networks = ["10.0.0.0/8", "172.16.0.0/12"]')
    settings = load({"TIDEGATE_PORT": "9001", "TIDEGATE_HOST": ""}, file)
    assert (settings.port, settings.host) == (9001, "::1")
    assert settings.allow_networks == ("10.0.0.0/8", "172.16.0.0/12")


def test_tidegate_config_names_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "port = 9000")
    assert load({"TIDEGATE_CONFIG": str(file)}).port == 9000
    assert "TIDEGATE_CONFIG" in refusal({"TIDEGATE_CONFIG": str(tmp_path / "none.toml")})


def test_the_file_in_the_working_folder_is_read(tmp_path: Path) -> None:
    toml(tmp_path, "port = 9000")
    with chdir(tmp_path):
        assert load({}).port == 9000


def test_a_secret_is_read_from_a_file_without_its_newline(tmp_path: Path) -> None:
    kept = tmp_path / "key"
    kept.write_text("  a key with spaces \r\n")
    by_variable = load({"TIDEGATE_SECRET_KEY_FILE": str(kept)})
    by_toml = load({}, toml(tmp_path, f'secret_key_file = "{kept}"'))
    assert by_variable.secret_key == by_toml.secret_key == Secret("  a key with spaces ")


def test_a_value_and_a_file_for_the_same_setting_is_an_error(tmp_path: Path) -> None:
    kept = tmp_path / "key"
    kept.write_text(CANARY)
    both = refusal({"TIDEGATE_SECRET_KEY": CANARY, "TIDEGATE_SECRET_KEY_FILE": str(kept)})
    assert "TIDEGATE_SECRET_KEY and TIDEGATE_SECRET_KEY_FILE are both given" in both
    assert CANARY not in both


def test_a_missing_or_empty_secret_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    missing = refusal({"TIDEGATE_ADMIN_KEY_FILE": str(tmp_path / "none")})
    assert missing.startswith("TIDEGATE_ADMIN_KEY_FILE:")
    assert "is empty" in refusal({"TIDEGATE_ADMIN_KEY_FILE": str(tmp_path / "empty")})


def test_an_unknown_name_is_an_error_that_guesses_what_was_meant(tmp_path: Path) -> None:
    refused = refusal({"TIDEGATE_DATABSE_URL": CANARY})
    assert refused.startswith("TIDEGATE_DATABSE_URL is not a setting: did you mean TIDEGATE_DATABASE_URL?")
    assert CANARY not in refused
    assert "TIDEGATE_COLOUR (colour in tidegate.toml)" in refusal({}, toml(tmp_path, 'colour = "red"'))


def test_names_for_the_tests_and_of_others_are_let_be() -> None:
    assert load({"TIDEGATE_TEST_POSTGRES": "x", "TIDEGATES": "y", "PORT": "z"}).port == 8420


def test_the_variables_of_a_kubernetes_service_are_explained() -> None:
    assert "enableServiceLinks" in refusal({"TIDEGATE_PORT": "tcp://10.0.0.1:8420"})
    assert "enableServiceLinks" in refusal({"TIDEGATE_SERVICE_HOST": "10.0.0.1"})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("PORT", "65536", "'65536' is not a port: allowed is 0"),
        ("PORT", "-1", "not a port"),
        ("PORT", "eighty", "not a port"),
        ("WORKERS", "0", "allowed is a whole number from 1"),
        ("WORKERS", "1.5", "allowed is a whole number from 1"),
        ("WORKERS", "3", "SQLite serves at most 2 worker processes; for more, set TIDEGATE_DATABASE_URL"),
        ("SLICES", "0", "allowed is a whole number from 1 to 500"),
        ("SLICES", "501", "allowed is a whole number from 1 to 500"),
        ("HOST_REQUESTS", "0", "allowed is a whole number from 1 to 100"),
        ("HOST_REQUESTS", "101", "allowed is a whole number from 1 to 100"),
        ("HOST_RATE", "0", "allowed is 0.1 to 1000"),
        ("HOST_RATE", "1001", "allowed is 0.1 to 1000"),
        ("HOST_RATE", "fast", "not a number of requests a second"),
        ("HOST", "http://x", "not a host name"),
        ("PUBLIC_URL", "tidegate.example", "allowed are https://host"),
        ("PUBLIC_URL", "https://tidegate.example/?a=b", "allowed are https://host"),
        ("LOG_LEVEL", "loud", "allowed are debug, info, warning, error, critical"),
        ("ALLOW_NETWORKS", "10.0.0.0/8,intranet", "'intranet' is not a network: allowed are CIDRs"),
        ("ALLOW_NETWORKS", "10.1.2.3/8", "the network is 10.0.0.0/8"),
        ("DATABASE_SCHEMA", "tide; drop", "not a plain schema name"),
        ("DATABASE_SCHEMA", "pg_tide", "not a plain schema name"),
        ("DATABASE_SCHEMA", "1tide", "not a plain schema name"),
        ("CA_FILE", "/nowhere/ca.pem", "there is no file /nowhere/ca.pem"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(name: str, text: str, said: str) -> None:
    refused = refusal({f"TIDEGATE_{name}": text})
    assert refused.startswith(f"TIDEGATE_{name}:")
    assert said in refused


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("DATABASE_URL", f"mysql://u:{CANARY}@h/db", "allowed are postgresql://"),
        ("DATABASE_URL", f"postgresql://u:{CANARY}@h", "allowed are postgresql://"),
        ("DATABASE_URL", f"postgresql://u:{CANARY}/x@h/db", "written as %40"),
        ("DATABASE_URL", f"postgresql://u:{CANARY}#x@h/db", "written as %40"),
        ("DATABASE_URL", f"postgresql+asyncpg://u:{CANARY}@h/db", "allowed are postgresql://"),
        ("DATABASE_URL", "sqlite:////srv/tide#1.db", "written as %40"),
        ("DATABASE_URL", "sqlite://", "names a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "names a file"),
        ("DATABASE_URL", CANARY, "allowed are postgresql://"),
        ("REDIS_URL", f"http://u:{CANARY}@h", "allowed are redis://"),
        ("REDIS_URL", f"redis://u:{CANARY}@", "allowed are redis://"),
        ("PROXY", f"socks5://u:{CANARY}@h", "allowed are http://host:port"),
        ("PROXY", f"{CANARY}:3128", "allowed are http://host:port"),
        ("PUBLIC_URL", f"https://u:{CANARY}@tidegate.example", "allowed are https://host"),
        ("SECRET_KEY", f"{CANARY},short", "at least 16 characters"),
        ("ADMIN_KEY", f"{CANARY} x", "visible ASCII"),
        ("ADMIN_KEY", "short", "at least 8"),
    ],
)
def test_a_bad_secret_is_refused_without_showing_it(name: str, text: str, said: str) -> None:
    refused = refusal({f"TIDEGATE_{name}": text})
    assert refused.startswith(f"TIDEGATE_{name}:")
    assert said in refused
    assert CANARY not in refused


def test_a_file_that_is_no_toml_or_holds_a_table_is_refused(tmp_path: Path) -> None:
    assert "is not a TOML file" in refusal({}, toml(tmp_path, f"secret_key = {CANARY}"))
    assert CANARY not in refusal({}, toml(tmp_path, f"secret_key = {CANARY}"))
    assert "TIDEGATE_PORT (port in tidegate.toml)" in refusal({}, toml(tmp_path, "[port]\nx = 1"))
    assert "TIDEGATE_PORT (port in tidegate.toml)" in refusal({}, toml(tmp_path, "port = true"))


def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing here")
    assert "PEM" in refusal({"TIDEGATE_CA_FILE": str(tmp_path / "ca.pem")})


def test_no_secret_is_in_the_repr_of_settings() -> None:
    settings = load(
        {
            "TIDEGATE_DATABASE_URL": f"postgresql://u:{CANARY}@h/db",
            "TIDEGATE_REDIS_URL": f"redis://:{CANARY}@h",
            "TIDEGATE_PROXY": f"http://u:{CANARY}@h:1",
            "TIDEGATE_SECRET_KEY": CANARY,
            "TIDEGATE_ADMIN_KEY": CANARY,
        }
    )
    assert CANARY not in repr(settings) + str(settings) + repr(settings.async_database_url)
    assert repr(settings).count(MASK) == 5


def test_the_log_redactor_is_told_every_key_and_password() -> None:
    settings = load(
        {
            "TIDEGATE_DATABASE_URL": "postgresql://u:p%40ss@h/db",
            "TIDEGATE_REDIS_URL": "redis://h?password=inquery",
            "TIDEGATE_PROXY": "http://u:proxied@h:1",
            "TIDEGATE_SECRET_KEY": "new-key-of-the-vault,old-key-of-the-vault",
            "TIDEGATE_ADMIN_KEY": "administrator",
        }
    )
    expected = {"p%40ss", "p@ss", "inquery", "proxied", "administrator"}
    expected |= {"new-key-of-the-vault", "old-key-of-the-vault"}
    assert expected <= set(settings.secret_texts())


def test_the_embedded_database_is_a_file_in_the_data_folder() -> None:
    settings = load({"TIDEGATE_DATA_DIR": "/data/100% of?it"})
    url = make_url(settings.async_database_url.reveal())
    assert settings.is_sqlite
    assert (url.drivername, url.database) == ("sqlite+aiosqlite", "/data/100% of?it/tidegate.db")


@pytest.mark.parametrize(
    ("given", "sqlite", "expected"),
    [
        ("sqlite:////srv/tide.db", True, "sqlite+aiosqlite:////srv/tide.db"),
        ("sqlite:///tide.db", True, "sqlite+aiosqlite:///tide.db"),
        (POSTGRES, False, POSTGRES.replace("postgresql:", "postgresql+asyncpg:")),
        ("postgresql:///tide?host=/run/pg", False, "postgresql+asyncpg:///tide?host=%2Frun%2Fpg"),
        ("postgresql://h/tide?sslmode=require", False, "postgresql+asyncpg://h/tide?ssl=require"),
    ],
)
def test_a_database_url_is_given_its_async_driver(given: str, sqlite: bool, expected: str) -> None:
    settings = load({"TIDEGATE_DATABASE_URL": given})
    assert (settings.is_sqlite, settings.async_database_url.reveal()) == (sqlite, expected)


def test_the_data_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    made = open_data_dir(Settings(data_dir=tmp_path / "a" / "data"))
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    open_data_dir(Settings(data_dir=loose))
    open_data_dir(Settings(data_dir=shared))
    assert (mode(made), mode(loose), mode(shared)) == (0o700, 0o700, 0o1777)


def test_a_data_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^TIDEGATE_DATA_DIR: "):
        open_data_dir(Settings(data_dir=tmp_path / "file"))


def test_the_secret_key_is_made_once_for_the_embedded_database(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    key = secret_key(settings)
    assert secret_key(settings) == key
    assert len(key.reveal()) == 43
    assert mode(tmp_path / "data" / "secret.key") == 0o600
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_processes_that_start_at_once_agree_on_the_secret_key(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with ThreadPoolExecutor(16) as pool:
        keys = [key.reveal() for key in pool.map(secret_key, [settings] * 64)]
    assert len(set(keys)) == 1


def test_real_processes_that_start_at_once_print_the_admin_key_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from config.settings import *;"
        "key, made = admin_key(Settings(data_dir=Path(sys.argv[1]))); print(key.reveal(), made)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [each.communicate()[0].split() for each in started]
    assert len({key for key, _ in said}) == 1
    assert [made for _, made in said].count("True") == 1


def test_an_empty_key_file_is_not_a_key(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        secret_key(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("url", [POSTGRES, "sqlite:////srv/tide.db"])
def test_with_a_database_url_a_missing_secret_key_is_an_error(tmp_path: Path, url: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=Secret(url))
    with pytest.raises(SettingsError, match=r"^TIDEGATE_SECRET_KEY: needed") as refused:
        secret_key(settings)
    assert "hunter2secret" not in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_a_given_secret_key_is_used_and_nothing_is_made(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", secret_key=Secret("new-key-of-16-ch, old-key-of-16-ch"))
    assert vault_keys(settings) == [Secret("new-key-of-16-ch"), Secret("old-key-of-16-ch")]
    assert not (tmp_path / "data").exists()


def test_the_admin_key_is_new_the_first_time_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    key, made = admin_key(settings)
    assert made
    assert admin_key(settings) == (key, False)
    assert mode(tmp_path / "data" / "admin.key") == 0o600
    assert admin_key(Settings(data_dir=tmp_path, admin_key=Secret(CANARY))) == (Secret(CANARY), False)
