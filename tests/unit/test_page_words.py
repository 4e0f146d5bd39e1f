"""What the page says: systems by their addresses, times and counts in words, pictures of syncs."""

from datetime import UTC, datetime, timedelta

import pytest

from api.ui import charts, form, recognising, words
from store.health import HEALTHS
from store.overview import Past
from tests.house import ADAPTERS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "system", "what"),
    [
        ("https://site.atlassian.net/issues/?filter=12345", "jira", "The issues of filter 12345"),
        ("jira.company.com/rest/api/latest/search?jql=filter=12345", "jira", "The issues of filter 12345"),
        ("jenkins.company.com/job/pipeline_1", "jenkins", "The job or folder pipeline_1"),
        ("https://ci.company.com/", "jenkins", "All jobs of ci.company.com"),
        ("https://build.company.com/view/nightly", "jenkins", "The view nightly"),
        ("https://dev.azure.com/company", "azure", "All projects of dev.azure.com/company"),
        ("company.visualstudio.com/shop", "azure", "The project shop"),
    ],
)
def test_the_system_is_known_by_the_address(url: str, system: str, what: str) -> None:
    found = recognising.candidates(ADAPTERS, url, {})
    assert recognising.best(found) == system
    assert found[0].what is not None
    assert found[0].what.startswith(what)


def test_an_address_that_may_be_several_is_left_to_the_person() -> None:
    found = recognising.candidates(ADAPTERS, "https://tools.company.com/build", {})
    assert {one.system for one in found} == {"azure", "jenkins"}
    assert recognising.best(found) is None


def test_an_address_of_a_known_system_that_names_nothing_says_what_would() -> None:
    [found] = recognising.candidates(ADAPTERS, "https://site.atlassian.net/", {})
    assert found.system == "jira"
    assert "filter=12345" in str(found.problem)
    assert recognising.best([found]) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "now"), (-59, "59 s ago"), (-61, "1 min ago"), (-7300, "2 h ago"), (-200000, "2 days ago"),
        (90, "in 1 min"),
    ],
)  # fmt: skip
def test_times_are_said_in_one_unit(seconds: float, said: str) -> None:
    assert words.relative(NOW + timedelta(seconds=seconds), NOW) == said


def test_every_health_has_a_name() -> None:
    assert set(words.HEALTH) == set(HEALTHS)


def test_the_newest_sync_is_on_the_right_and_the_longest_the_highest() -> None:
    pasts = [
        Past(1, n, state, "incremental", NOW, NOW, NOW + timedelta(seconds=seconds))
        for n, (state, seconds) in enumerate([("succeeded", 1), ("failed", 3600)])
    ]
    drawn = charts.strip(pasts)
    assert drawn.label == "Last 2 syncs: 1 succeeded, 1 failed"
    paths = dict(drawn.paths)
    assert paths["bad"].startswith(f"M{29 * charts.STEP} {charts.HEIGHT}v-{charts.HEIGHT}")
    assert paths["good"].startswith(f"M{28 * charts.STEP} ")


def test_no_sync_yet_is_said() -> None:
    assert charts.strip([]).label == "No syncs yet"


def test_stated_times_are_shown_in_their_zone_and_intervals_as_they_follow() -> None:
    daily = form.next_times("daily at 02:30", "Europe/Berlin", NOW)
    assert daily.exact
    assert [text for _, text in daily.times] == ["Sat 3 Jan, 02:30", "Sun 4 Jan, 02:30", "Mon 5 Jan, 02:30"]
    often = form.next_times("every 15m", "UTC", NOW)
    assert not often.exact
    assert [text for _, text in often.times] == ["Fri 2 Jan, 03:19", "Fri 2 Jan, 03:34", "Fri 2 Jan, 03:49"]
    assert form.next_times("manually", "UTC", NOW).times == []
    assert "is not a frequency" in str(form.next_times("sometimes", "UTC", NOW).problem)
