"""Azure DevOps addresses as people paste them."""

from base64 import b64decode
from collections.abc import Mapping

import pytest

from adapters.azure import Azure
from adapters.base import BadTarget

ORG = "https://dev.azure.com/company"
PROJECT = f"{ORG}/newtwitterclone"


@pytest.mark.parametrize(
    "url",
    [
        "https://dev.azure.com/company",
        "https://dev.azure.com/company/",
        "dev.azure.com/company",
        " HTTPS://Dev.Azure.com/company ",
        "https://dev.azure.com:443/company",
        "https://company@dev.azure.com/company",
        "company.visualstudio.com",
        "https://company.visualstudio.com/",
        "https://company.visualstudio.com/DefaultCollection",
        "https://dev.azure.com/company/_apis/projects?api-version=7.1",
        "https://dev.azure.com/company/_settings/tokens#x",
        "<https://dev.azure.com/company>",
        "https://dev.azure.com/company/_boards",
    ],
)
def test_every_form_of_an_organisation_is_one(url: str) -> None:
    target = Azure.parse(url, {})
    assert (target.base, target.canonical, dict(target.options)) == (ORG, ORG, {})


@pytest.mark.parametrize(
    "url",
    [
        "https://dev.azure.com/company/newtwitterclone",
        "dev.azure.com/company/newtwitterclone/",
        "https://company@dev.azure.com/company/newtwitterclone/_git/web",
        "https://dev.azure.com/company/newtwitterclone/_workitems/edit/12/",
        "https://dev.azure.com/company/newtwitterclone/_boards/board/t/Team/Stories",
        "https://dev.azure.com/company/newtwitterclone/Team/_backlogs",
        "company.visualstudio.com/newtwitterclone",
        "https://company.visualstudio.com/DefaultCollection/newtwitterclone/_git/web",
        "https://dev.azure.com/company/newtwitterclone/_workitems/recentlyupdated/",
        "https://dev.azure.com/company/newtwitterclone/_build?definitionId=12&_a=summary",
        "https://dev.azure.com/company/newtwitterclone/_boards/board/t/Team%20A/Stories?view=x#top",
        "https://dev.azure.com/company/newtwitterclone/_build/results?buildId=7&view=results",
        # A repository of the project's own name is shown without the project.
        "https://dev.azure.com/company/_git/newtwitterclone",
        "https://company.visualstudio.com/_git/newtwitterclone/pullrequest/3",
    ],
)
def test_every_form_of_a_project_is_one(url: str) -> None:
    target = Azure.parse(url, {})
    assert (target.base, target.canonical) == (ORG, PROJECT)
    assert target.options == {"project": "newtwitterclone"}


@pytest.mark.parametrize("project", ["newtwitterclone", " newtwitterclone "])
def test_the_project_may_come_as_a_parameter(project: str) -> None:
    target = Azure.parse(ORG, {"project": project})
    assert (target.base, target.canonical, target.options) == (ORG, PROJECT, {"project": "newtwitterclone"})


@pytest.mark.parametrize(
    "path", ["Größe & Maß", "Gr%C3%B6%C3%9Fe%20&%20Ma%C3%9F", "Gro\u0308\u00dfe%20%26%20Maß"]
)
def test_names_may_be_pasted_decoded_or_encoded(path: str) -> None:
    target = Azure.parse(f"{ORG}/{path}", {})
    assert target.options == {"project": "Größe & Maß"}
    assert target.canonical == f"{ORG}/Gr%C3%B6%C3%9Fe%20%26%20Ma%C3%9F"


@pytest.mark.parametrize(
    ("url", "base", "tail"),
    [
        ("http://127.0.0.1:8080/org", "http://127.0.0.1:8080", "org"),
        ("http://127.0.0.1:8080/org/project", "http://127.0.0.1:8080/org", "project"),
        ("tfs.company.com/tfs/Default Collection", "https://tfs.company.com/tfs", "Default Collection"),
        (
            "https://tfs.company.com:8443/tfs/C/Mobile%20App",
            "https://tfs.company.com:8443/tfs/C",
            "Mobile App",
        ),
        ("https://tfs.company.com:443/c/p/_git/r", "https://tfs.company.com/c", "p"),
        ("http://[::1]:8080/org", "http://[::1]:8080", "org"),
        ("https://müller.example/org", "https://xn--mller-kva.example", "org"),
    ],
)
def test_on_a_host_of_ones_own_the_last_segment_is_left_open(url: str, base: str, tail: str) -> None:
    target = Azure.parse(url, {})
    assert (target.base, dict(target.options)) == (base, {"tail": tail})


@pytest.mark.parametrize("path", ["tfs/C", "tfs/C/Mobile%20App"])
def test_the_project_parameter_settles_what_the_path_leaves_open(path: str) -> None:
    target = Azure.parse(f"https://tfs.company.com/{path}", {"project": "Mobile App"})
    assert target.base == "https://tfs.company.com/tfs/C"
    assert target.canonical == "https://tfs.company.com/tfs/C/Mobile%20App"
    assert target.options == {"project": "Mobile App"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "https://",
        "https://dev.azure.com",
        "https://dev.azure.com/_apis/projects",
        "https://dev.azure.com/company/project/team",
        "https://tfs.company.com",
        "ftp://dev.azure.com/company",
        "git@ssh.dev.azure.com:v3/company/newtwitterclone/web",
        "https://user:secret@dev.azure.com/company",
        "https://user@tfs.company.com/company",
        "https://app.vssps.visualstudio.com/company",
        "https://www.visualstudio.com",
        "https://visualstudio.com.evil.example/",
        "https://dev.azure.com:port/company",
        "https://dev.azure.com/company/../other",
        "https://dev.azure.com/company/a%00b",
        "my company/project",
        "https://dev.azure.com/company/a%2Fb",
        "https://.visualstudio.com/company",
        "https://vsrm.dev.azure.com/company",
        "https://portal.azure.com/#home",
        "vstfs:///Build/Build/3",
        "company@vs-ssh.visualstudio.com:v3/company/project/web",
    ],
)
def test_what_cannot_work_is_refused_with_the_field(url: str) -> None:
    with pytest.raises(BadTarget) as caught:
        Azure.parse(url, {})
    assert caught.value.field == "url"
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("git@ssh.dev.azure.com:v3/company/My%20Project/web", f"{ORG}/My%20Project"),
        ("ssh://company@vs-ssh.visualstudio.com/v3/company/newtwitterclone/web", PROJECT),
        ("https://vsrm.dev.azure.com/company/newtwitterclone/_apis/release", PROJECT),
        ("https://feeds.dev.azure.com/company/_packaging", ORG),
        ("https://dev.azure.com", ORG),
        ("https://portal.azure.com", ORG),
    ],
)
def test_what_nearly_works_is_refused_with_what_would(url: str, instead: str) -> None:
    with pytest.raises(BadTarget) as caught:
        Azure.parse(url, {})
    assert instead in caught.value.message
    assert Azure.parse(instead, {}).base == ORG


def test_a_server_on_a_machine_in_azure_is_a_host_of_ones_own() -> None:
    target = Azure.parse("https://tfs.westeurope.cloudapp.azure.com/tfs/C", {})
    assert dict(target.options) == {"tail": "C"}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"jql": "x"}, "params.jql"),
        ({"project": 7}, "params.project"),
        ({"project": " "}, "params.project"),
        ({"project": "a/b"}, "params.project"),
        ({"since": "yesterday"}, "params.since"),
        ({"since": 2026}, "params.since"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(params: Mapping[str, object], field: str) -> None:
    with pytest.raises(BadTarget) as caught:
        Azure.parse(ORG, params)
    assert caught.value.field == field


def test_a_project_parameter_against_the_url_is_refused() -> None:
    with pytest.raises(BadTarget) as caught:
        Azure.parse(PROJECT, {"project": "other"})
    assert caught.value.field == "params.project"


@pytest.mark.parametrize("since", ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00"])
def test_since_is_a_date_or_a_time(since: str) -> None:
    assert Azure.parse(ORG, {"since": since}).options == {"since": "2026-01-31T00:00:00+00:00"}


def test_common_parameters_are_taken() -> None:
    params = {"exclude": ["fields.System.Description"], "columns": {}, "census_every": "24h"}
    assert Azure.parse(ORG, params).base == ORG


async def test_a_token_goes_as_basic_with_an_empty_user_name() -> None:
    header = await Azure.auth("pat", None, lambda: "t").header()
    assert b64decode((header or "").removeprefix("Basic ")) == b":t"


async def test_basic_keeps_its_user_name() -> None:
    header = await Azure.auth("basic", "ada", lambda: "t").header()
    assert b64decode((header or "").removeprefix("Basic ")) == b"ada:t"


async def test_bearer_and_anonymous_are_taken() -> None:
    assert await Azure.auth("oauth2", None, lambda: "t").header() == "Bearer t"
    assert await Azure.auth("bearer", None, lambda: "t").header() == "Bearer t"
    assert await Azure.auth("anonymous", None, lambda: "t").header() is None


def test_other_credentials_are_refused() -> None:
    with pytest.raises(BadTarget) as caught:
        Azure.auth("kerberos", None, lambda: "t")
    assert caught.value.field == "kind"
