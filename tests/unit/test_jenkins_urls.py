"""URLs of Jenkins as people paste them."""

import pytest

from adapters.base import BadTarget
from adapters.jenkins.urls import full_name, item_path, parse


@pytest.mark.parametrize(
    ("pasted", "base", "path"),
    [
        ("jenkins.company.com/job/pipeline_1", "https://jenkins.company.com", "/job/pipeline_1"),
        ("http://ci:8080/job/a/job/b/", "http://ci:8080", "/job/a/job/b"),
        ("https://ci.example.com", "https://ci.example.com", ""),
        ("https://ci.example.com/", "https://ci.example.com", ""),
        ("https://CI.Example.com:443/jenkins/", "https://ci.example.com/jenkins", ""),
        ("https://h/jenkins/job/x", "https://h/jenkins", "/job/x"),
        ("https://h/team/ci/job/x/42/console", "https://h/team/ci", "/job/x"),
        ("https://h/job/x/lastBuild/testReport/?from=y#top", "https://h", "/job/x"),
        ("https://h/job/x/api/json?tree=name", "https://h", "/job/x"),
        ("https://h/view/all/job/x/view/y/job/z/", "https://h", "/job/x/job/z"),
        ("https://h/job/app/job/feature%252Fx/", "https://h", "/job/app/job/feature%252Fx"),
        ("https://h/job/app/job/feature%2Fx/", "https://h", "/job/app/job/feature%252Fx"),
        ("https://h/job/My Job/", "https://h", "/job/My%20Job"),
        ("https://h/job/My%20Job/", "https://h", "/job/My%20Job"),
        ("https://h//job//x", "https://h", "/job/x"),
        ("https://h/job/job/", "https://h", "/job/job"),
        ("https://h/blue/organizations/jenkins/x/activity", "https://h", "/job/x"),
        ("https://h/blue/organizations/jenkins/a%2Fb/detail/main/3/pipeline", "https://h", "/job/a/job/b"),
        ("https://h/ci/blue/organizations/jenkins/pipelines", "https://h/ci", ""),
        ("https://h/builds/job/x/", "https://h/builds", "/job/x"),
        ("https://h/ci/user/dana/my-views/view/all/job/x/", "https://h/ci", "/job/x"),
        ("https://h/ci/manage/", "https://h/ci", ""),
        ("https://h/login?from=%2Fjob%2Fx", "https://h", ""),
        ("jenkins.example.com:8080/job/x", "https://jenkins.example.com:8080", "/job/x"),
        ("https://h/job/x/lastBuild", "https://h", "/job/x"),
        ("https://h/job/x/lastSuccessfulBuild/artifact/a/b.txt", "https://h", "/job/x"),
        ("https://h/job/x/12/api/json", "https://h", "/job/x"),
        ("https://h/job/x/configure", "https://h", "/job/x"),
        ("https://h/api/json?pretty=true", "https://h", ""),
        ("https://h/jenkins/api/json", "https://h/jenkins", ""),
        ("https://h/jenkins/securityRealm/commenceLogin?from=%2F", "https://h/jenkins", ""),
        ("https://h/job/grid/OS=linux,JDK=17/3/", "https://h", "/job/grid"),
        ("https://h/job/größe/job/a b", "https://h", "/job/gr%C3%B6%C3%9Fe/job/a%20b"),
        ("https://h/blue/pipelines", "https://h", ""),
        ("https://h/blue/organizations/jenkins/app/detail/feature%2Fx/1/tests", "https://h", "/job/app"),
        (
            "https://h/blue/rest/organizations/jenkins/pipelines/a/pipelines/b/branches/feature%252Fx/runs/",
            "https://h",
            "/job/a/job/b/job/feature%252Fx",
        ),
        ("https://h/user/dana/my-views/view/All/", "https://h", ""),
        ("https://h/me/my-views/", "https://h", ""),
        ("https://h/me/my-views/view/mine/job/x/", "https://h", "/job/x"),
        ("https://[2001:db8::1]:8080/job/x", "https://[2001:db8::1]:8080", "/job/x"),
    ],
)
def test_a_pasted_url_names_a_root_and_an_item(pasted: str, base: str, path: str) -> None:
    target = parse(pasted, {})
    assert (target.base, target.options["path"]) == (base, path)
    assert target.canonical == base + path
    assert "view" not in target.options


@pytest.mark.parametrize(
    ("pasted", "path"),
    [
        ("https://h/view/Team%20A/", "/view/Team%20A"),
        ("https://h/view/A/view/B", "/view/A/view/B"),
        ("https://h/view/all/builds", "/view/all"),
        ("https://h/view/all/api/json", "/view/all"),
        ("https://h/job/app/view/change-requests/", "/job/app/view/change-requests"),
    ],
)
def test_a_view_is_read_as_what_it_shows(pasted: str, path: str) -> None:
    assert parse(pasted, {}).options == {"path": path, "view": "yes"}


@pytest.mark.parametrize(
    ("pasted", "says"),
    [
        ("", "no host"),
        ("https:///job/x", "no host"),
        ("ftp://h/job/x", "http or https"),
        ("https://dana:token@h/job/x", "credential"),
        ("https://h:port/job/x", "port"),
        ("https://h/job/../x", "step"),
        ("https://h/job/%2e%2e/x", "step"),
        ("https://h/job/", "ends before the name"),
        ("https://a b/job/x", "no host"),
        ("/job/x", "no host"),
        ("git@h:job/x", "no host|port|credential"),
        ("https://h/user/dana/my-views/view/mine/", "personal view"),
        ("http://[", "host"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_what_would(pasted: str, says: str) -> None:
    with pytest.raises(BadTarget, match=says) as refused:
        parse(pasted, {})
    assert refused.value.field == "url"
    assert "token" not in refused.value.message


@pytest.mark.parametrize(
    ("pasted", "after"),
    [
        ("https://h/job/team/app", "app"),
        ("https://h/job/team/allure/", "allure"),
        ("https://h/job/team/configure", None),
        ("https://h/job/team/42/console", None),
        ("https://h/job/team/lastStableBuild/", None),
        ("https://h/job/team/api/json", None),
        ("https://h/job/team/", None),
        ("https://h/view/a/builds", None),
    ],
)
def test_what_stands_behind_an_item_is_kept_unless_it_is_a_page_of_jenkins(
    pasted: str, after: str | None
) -> None:
    assert parse(pasted, {}).options.get("after") == after


def test_two_spellings_of_a_url_are_one_connection() -> None:
    spellings = ("https://H/job/x", "h/job/x/", "https://h:443/view/all/job/x/12/", "h/job/x/configure")
    assert len({parse(url, {}).canonical for url in spellings}) == 1


@pytest.mark.parametrize("since", ["2026-01-02", "2026-01-02T00:00:00Z", "2026-01-02T01:00:00+01:00"])
def test_since_is_kept_as_milliseconds(since: str) -> None:
    assert parse("h/job/x", {"since": since}).options["since"] == "1767312000000"


def test_a_since_that_is_no_time_is_refused() -> None:
    with pytest.raises(BadTarget, match="2026-01-31") as refused:
        parse("h/job/x", {"since": "last week"})
    assert refused.value.field == "params.since"


@pytest.mark.parametrize("name", ["app", "a/b/c", "app/feature%2Fx", "Team A/100%25 sure", "ünïcode/#1"])
def test_a_full_name_and_its_path_lead_to_each_other(name: str) -> None:
    assert full_name(item_path(name)) == name


def test_a_branch_with_a_slash_is_encoded_twice_in_the_path() -> None:
    assert item_path("app/feature%2Fx") == "/job/app/job/feature%252Fx"
