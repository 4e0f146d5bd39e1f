"""What README.md and the other texts name exists: commands, settings, views, paths, files."""

import re

import pytest

from api.routes import ROUTES
from config.settings import NAMES, load
from store.database import Database
from store.migrate import migrate
from store.streams import StreamTables
from tests.documents import ALL, TEXTS, blocks, commands, refusal
from tests.tree import ROOT
from tidegate.registry import OURS

README = TEXTS[0].read_text("utf-8")


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_is_taken_as_it_is_written(words: list[str]) -> None:
    assert refusal(words) is None


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    assert refusal(["synk"]) is not None
    assert refusal(["sync", "--nowhere"]) is not None
    assert len(list(commands())) > 10


def test_the_settings_are_all_there_with_their_defaults() -> None:
    rows = re.findall(r"^\| `TIDEGATE_(\w+)` \| ([^|]+) \|", README, re.MULTILINE)
    assert {name.lower() for name, _ in rows} == set(NAMES)
    settings = load({"TIDEGATE_DATA_DIR": "/nowhere"})
    for name, default in rows:
        if default.startswith("`") and name != "DATA_DIR":
            assert default.strip("`") == str(getattr(settings, name.lower())), name


def test_no_other_setting_is_named() -> None:
    named = set(re.findall(r"\bTIDEGATE_(?!TEST_|CONFIG\b|FAILPOINT\b)([A-Z_]+[A-Z])", ALL))
    assert {name.removesuffix("_FILE").lower() if name != "CA_FILE" else "ca_file" for name in named} <= set(
        NAMES
    )


async def test_the_queries_are_understood_by_the_database(database: Database) -> None:
    await migrate(database, StreamTables(OURS.values()))
    queries = blocks("sql")
    assert len(queries) == 3
    async with database.read() as connection:
        if not database.is_sqlite:
            await connection.exec_driver_sql(f'SET LOCAL search_path TO "{database.schema}"')
        for query in queries:
            await connection.exec_driver_sql(query)


def test_the_columns_of_a_result_are_those_of_its_query() -> None:
    shown = re.findall(r"```sql\n(.*?)```\n\n```\n(.*?)\n", README, re.DOTALL)
    assert len(shown) == 3
    for query, header in shown:
        for column in header.split():
            assert re.search(rf"\b{column}\b", query), column


def test_the_views_are_all_named() -> None:
    views = {
        f"{system}_{stream.name}" for system, kind in OURS.items() for f in kind.feeds for stream in f.streams
    }
    listed = re.search(r"Each stream is a view.*?\. ", README, re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"`([a-z_]+)`", listed.group())) == views


def test_the_paths_of_the_api_are_served() -> None:
    served = [re.sub(r"\{[^}]+\}", r"[^/]+", route.path) for route in ROUTES]
    named = re.findall(r"(?<=:8420)/[^\s'\"`]*|(?<=[`\s])/(?:v1/\w+|readyz|healthz)", ALL)
    assert named
    for path in named:
        assert any(re.fullmatch(pattern, path.partition("?")[0]) for pattern in served), path


def test_what_make_is_asked_for_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", ALL, re.MULTILINE)) <= targets


def test_the_files_that_are_named_are_there() -> None:
    links = [
        (path.parent / link)
        for path in TEXTS
        for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text())
    ]
    named = [ROOT / name for name in re.findall(r"`((?:[a-z]+/)+[a-z_]+\.py)`", ALL)]
    assert [str(path) for path in [*links, *named] if not path.exists()] == []
