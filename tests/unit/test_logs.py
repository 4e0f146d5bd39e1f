"""Logs: their form, what libraries may say, and that no secret gets into a line by any way."""

import asyncio
import base64
import html
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import cast
from urllib.parse import quote

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config.logs import MOST_VALUES, Redactor, configure
from config.secret import MASK, Secret
from config.settings import Settings
from config.vault import Vault

CANARY = "canary/ü+7f\"3a'9c secret"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Login(msgspec.Struct):
    user: str
    password: str


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.register(CANARY)
    return made


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    root.handlers = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream(redactor: Redactor) -> io.StringIO:
    """Where debug logs go as JSON."""
    made = io.StringIO()
    configure("debug", made, True, redactor)
    return made


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def traces_of_canary(text: str) -> list[str]:
    parts = ["canary", "7f", "3a'9c", quote(CANARY), base64.b64encode(CANARY.encode()).decode()[:12]]
    return [part for part in parts if part in text]


def test_a_line_is_a_json_object_with_a_constant_event_and_its_fields(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(connection=17, sync=4)
    structlog.get_logger("worker.sync").info("page_committed", records=100)
    (line,) = lines(stream)
    stamp = line.pop("timestamp")
    assert line == {
        "event": "page_committed",
        "level": "info",
        "logger": "worker.sync",
        "connection": 17,
        "sync": 4,
        "records": 100,
    }
    assert datetime.fromisoformat(str(stamp)).utcoffset() is not None
    assert str(stamp).endswith("Z")


def test_a_line_on_a_terminal_is_for_people(redactor: Redactor) -> None:
    terminal = Terminal()
    configure("info", terminal, False, redactor)
    structlog.get_logger("api").warning("slow_answer", path="/v1/x\x1b[2J\nforged", secret="x")
    text = terminal.getvalue()
    assert "slow_answer" in text
    assert "\x1b[" in text
    assert "\x1b[2J" not in text
    assert text.count("\n") == 1
    assert "'********'" in text


def test_the_level_holds_for_us_and_for_libraries(redactor: Redactor) -> None:
    stream = io.StringIO()
    configure("warning", stream, True, redactor)
    structlog.get_logger().info("unheard")
    logging.getLogger("alembic").info("unheard")
    structlog.get_logger().warning("heard")
    assert [line["event"] for line in lines(stream)] == ["heard"]


def test_the_line_of_a_library_has_a_constant_event_and_its_text_as_message(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.access").info("GET %s", "/healthz")
    (line,) = lines(stream)
    assert (line["event"], line["message"]) == ("library_log", "GET /healthz")
    assert (line["logger"], line["level"]) == ("aiohttp.access", "info")


def test_arq_is_heard_from_warnings_on_and_apscheduler_from_errors_on(stream: io.StringIO) -> None:
    for name, least in (
        ("arq.worker", "warning"),
        ("aiosqlite", "warning"),
        ("apscheduler.executors", "error"),
    ):
        logging.getLogger(name).info("unheard")
        getattr(logging.getLogger(name), least)("heard")
    logging.getLogger("apscheduler.scheduler").warning("unheard")
    assert [line["message"] for line in lines(stream)] == ["heard"] * 3


def test_a_secret_is_masked_wherever_it_hides_in_an_event(stream: io.StringIO) -> None:
    structlog.get_logger().debug(
        "canary",
        text=f"before {CANARY} after",
        nested={"list": [CANARY, ("x", {CANARY})], CANARY: 1, "bytes": CANARY.encode()},
        struct=Login("u", CANARY),
        error=ValueError(CANARY),
        path=Path(CANARY),
        secret_object=Secret(CANARY),
        settings=Settings(data_dir=Path("/data"), secret_key=Secret(CANARY)),
        deep=[[[[[[[[[[[[CANARY]]]]]]]]]]]],
    )
    (line,) = lines(stream)
    line.pop("event")
    assert traces_of_canary(json.dumps(line, ensure_ascii=False)) == []
    assert line["text"] == f"before {MASK} after"


def test_a_secret_is_masked_in_a_traceback_with_its_causes(stream: io.StringIO) -> None:
    def fail() -> None:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            raise ValueError(f"cannot use {CANARY}") from cause

    try:
        fail()
    except ValueError as failed:
        structlog.get_logger().exception("sync_crashed")
        logging.getLogger("asyncio").error("Task failed", exc_info=failed)
    ours, theirs = lines(stream)
    for line in (ours, theirs):
        text = str(line["exception"])
        assert "Traceback" in text
        assert "direct cause" in text
        assert f"ValueError: cannot use {MASK}" in text
        assert traces_of_canary(text) == []


def test_a_traceback_on_a_terminal_is_masked_too(redactor: Redactor) -> None:
    terminal = Terminal()
    configure("debug", terminal, False, redactor)
    try:
        raise ValueError(CANARY)
    except ValueError:
        structlog.get_logger().exception("sync_crashed", detail=CANARY)
    assert "Traceback" in terminal.getvalue()
    assert traces_of_canary(terminal.getvalue()) == []


def test_a_secret_in_the_arguments_of_a_library_is_masked(stream: io.StringIO) -> None:
    logging.getLogger("asyncio").debug("connecting with %r and %s", CANARY, {"key": CANARY})
    assert traces_of_canary(stream.getvalue()) == []
    assert lines(stream)[0]["message"] == f"connecting with '{MASK}' and {{'key': '{MASK}'}}"


def test_a_line_that_cannot_be_made_says_so_without_its_arguments(
    redactor: Redactor, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    configure("debug", stream, True, redactor)
    logging.getLogger("somewhere").error("%d records", CANARY)
    assert stream.getvalue().startswith("log_line_lost logger=somewhere line=")
    assert traces_of_canary(stream.getvalue() + "".join(capsys.readouterr())) == []


def test_an_exception_that_nobody_caught_in_a_task_is_masked(stream: io.StringIO) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "lost", "exception": ValueError(CANARY)}
        )

    asyncio.run(main())
    assert "lost" in stream.getvalue()
    assert traces_of_canary(stream.getvalue()) == []


@given(st.text(max_size=8), st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=40))
def test_the_basic_header_of_any_user_shows_nothing_of_the_secret(user: str, secret: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    pair = base64.b64encode(f"{user}:{secret}".encode("utf-8", "replace")).decode()
    masked = redactor.text(f"sent {pair} to the remote")
    assert MASK in masked
    assert len(masked) < len(pair) + len("sent  to the remote")


@given(st.text(min_size=4, max_size=30))
def test_no_encoding_of_a_registered_secret_stays(secret: str) -> None:
    redactor = Redactor()
    redactor.register(secret)
    for form in (secret, quote(secret, safe="", errors="replace"), repr(secret), json.dumps(secret)):
        assert MASK in redactor.text(f"({form})")


WRITTEN = (
    lambda one: one,
    lambda one: "".join(f"%{byte:02X}" for byte in one.encode()),
    lambda one: "".join(f"%{byte:02x}" for byte in one.encode()),
    lambda one: json.dumps(one)[1:-1] if one in '\\"' else f"\\u{ord(one):04x}",
    lambda one: f"&#{ord(one)};",
    html.escape,
)
CHARACTERS = st.characters(max_codepoint=0xFFFF, exclude_categories=["C"])


@given(st.lists(st.tuples(CHARACTERS, st.sampled_from(WRITTEN)), min_size=4, max_size=30), st.integers(0, 2))
def test_a_secret_of_which_some_characters_are_encoded_is_masked_whole(
    written: list[tuple[str, Callable[[str], str]]], again: int
) -> None:
    redactor = Redactor()
    redactor.register("".join(one for one, _ in written))
    # What would itself look like an encoding is always written in one.
    text = "".join(quote(one) if one in "%&\\" else write(one) for one, write in written)
    for _ in range(again):
        text = quote(text, safe="")
    assert redactor.text(f"before {text} after") == f"before {MASK} after"


@pytest.mark.parametrize(
    "text",
    [
        "/job/100%25/x?y=%zz&copy;%C3%28&amp;",
        "C:\\users\\ana \\u12 \\ud800 &#99999999; &#0;",
        '{"a": "\\u00e9\\ud83d\\ude00 %f0%9f%98%80"}',
    ],
)
def test_encodings_without_a_secret_are_left_as_they_are(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text
    assert redactor.text(text + quote(CANARY, safe="")[:-1] + "%74").endswith(MASK)


def test_of_overlapping_secrets_the_longest_is_masked_whole() -> None:
    redactor = Redactor()
    for value in ("hunter", "hunter2-and-more", "hunter2"):
        redactor.register(value)
    assert redactor.text("hunter2-and-more, hunter2, hunter") == f"{MASK}, {MASK}, {MASK}"


def test_values_that_are_too_short_are_not_registered() -> None:
    redactor = Redactor()
    for value in ("", "a", "abc"):
        redactor.register(value)
    assert redactor.text("abc a") == "abc a"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pw@jira.example/x", f"https://{MASK}@jira.example/x"),
        ("redis://:pw@h:6379/0 failed", f"redis://{MASK}@h:6379/0 failed"),
        ("https://jira.example/a@b", "https://jira.example/a@b"),
        ("POST /webhooks/cb_12ab34?x=1 202", f"POST /webhooks/{MASK}?x=1 202"),
        ("Basic dXNlcjpwYXNz", f"Basic {MASK}"),
        ("bearer eyJhbGciOi.J9_x-y", f"bearer {MASK}"),
        ("basic authentication failed", "basic authentication failed"),
        ("{'Authorization': 'token xyz', 'a': 1}", f"{{'Authorization': '{MASK}', 'a': 1}}"),
        ("GET /x?access_token=abc&page=2", f"GET /x?access_token={MASK}&page=2"),
    ],
)
def test_what_has_the_shape_of_a_secret_is_masked_unregistered(text: str, masked: str) -> None:
    assert Redactor().text(text) == masked


def test_fields_with_telling_names_are_masked_and_others_are_not(stream: io.StringIO) -> None:
    hidden = {
        "Authorization": "x",
        "Set-Cookie": ["x"],
        "callback_token": "x",
        "admin_key": b"x",
        "password": 1,
    }
    shown = {"has_secret": True, "secret": None, "credential_id": 17, "key": "TG-1", "token_url": "https://x"}
    structlog.get_logger().info("fields", headers=hidden, fields=shown)
    (line,) = lines(stream)
    assert line["headers"] == dict.fromkeys(hidden, MASK)
    assert line["fields"] == shown


def test_a_secret_opened_by_the_vault_is_masked_from_then_on() -> None:
    redactor = Redactor()
    vault = Vault([Secret("a key of the vault")], on_reveal=redactor.register)
    sealed = vault.seal(CANARY, "credentials/1/secret")
    assert redactor.text(CANARY) == CANARY
    vault.open(sealed, "credentials/1/secret")
    assert redactor.text(CANARY) == MASK


def test_memory_is_bounded_and_the_longest_unused_is_forgotten() -> None:
    redactor = Redactor()
    for number in range(MOST_VALUES):
        redactor.register(f"value-{number}-")
    redactor.register("value-0-")
    redactor.register("one-more-value")
    assert redactor.text("value-0- value-1- value-2- one-more-value") == f"{MASK} value-1- {MASK} {MASK}"


def test_many_secrets_of_one_start_and_length_cost_a_line_little() -> None:
    redactor = Redactor()
    for number in range(5000):
        redactor.register(f"ATATT3xFfGF0{number:06}")
    text = "ATATT3xFfGF0 " * 1000 + "ATATT3xFfGF0004999"
    began = time.process_time()
    assert redactor.text(text).endswith(f" {MASK}")
    assert time.process_time() - began < 1


def test_secrets_may_be_registered_while_others_log(redactor: Redactor) -> None:
    def register(start: int) -> None:
        for number in range(start, start + 2000):
            redactor.register(f"value-{number}-")

    threads = [threading.Thread(target=register, args=(start,)) for start in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert redactor.text(CANARY) == MASK
    assert {redactor.text(f"value-{number}-") for number in range(4000)} == {MASK}


def test_a_value_that_json_does_not_know_becomes_text(stream: io.StringIO) -> None:
    structlog.get_logger().info("odd", at=datetime(2026, 1, 2), surrogate="\ud800", number=2**80)  # noqa: DTZ001
    (line,) = lines(stream)
    assert line["number"] == cast(object, 2**80)
    assert "2026, 1, 2" in str(line["at"])
