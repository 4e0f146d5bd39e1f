"""The references in docs/ are what the code makes, and what they are made of is whole and true."""

import pytest

from adapters.base import Column, Stream
from config import about, settings
from config.frequency import parse_frequency
from docs.generate import FILES, commands, configuration
from tests.tree import ROOT
from tidegate.cli import COMMANDS
from tidegate.registry import OURS


@pytest.mark.parametrize("name", FILES)
def test_a_reference_is_what_the_code_makes(name: str) -> None:
    made = FILES[name]().rstrip("\n") + "\n"
    written = (ROOT / "docs" / name).read_text("utf-8")
    assert written == made, f"docs/{name} is of another version of the code: run `make docs`."


def test_every_setting_is_told_with_an_example_that_works() -> None:
    assert set(about.SETTINGS) == set(settings.NAMES)
    for name, told in about.SETTINGS.items():
        variable = settings.PREFIX + name.upper()
        if name == "ca_file":
            continue  # the example is a file that is not here
        given = {"TIDEGATE_DATABASE_URL": "postgresql://db/tidegate", variable: told.example}
        assert settings.load(given).data_dir
        assert f"| `{variable}` |" in configuration()


def test_every_form_of_a_frequency_is_told_and_taken_as_it_is_written() -> None:
    forms = [form for form, _ in about.FREQUENCIES]
    assert [parse_frequency(form).text for form in forms] == forms


def test_every_stream_and_column_is_in_the_reference() -> None:
    text = configuration()
    streams: list[tuple[str, Stream]] = [
        (system, stream) for system, kind in OURS.items() for feed in kind.feeds for stream in feed.streams
    ]
    assert len(streams) > 4
    for system, stream in streams:
        section = text.partition(f"View `{system}_{stream.name}`")[2].partition("####")[0]
        assert all(row(column) in section for column in stream.columns), stream.name


def row(column: Column) -> str:
    return f"| `{column.name}` | {column.type} | "


def test_every_command_is_in_the_reference_with_its_help() -> None:
    text = commands()
    for name in COMMANDS:
        assert f"\n## tidegate {name}\n" in text
        assert f"Usage: tidegate {name} " in text
    assert "\n### tidegate connections add\n" in text
    assert "until-stdin-closes" not in text
