"""What people paste for Jira, and what the adapter makes of it."""

import pytest

from adapters.base import BadTarget
from adapters.jira import Jira

SITE = "https://acme.atlassian.net"
DC = "https://jira.company.com"


@pytest.mark.parametrize(
    ("url", "base", "options"),
    [
        ("acme.atlassian.net/rest/api/latest/search?jql=filter=12345", SITE, {"filter": "12345"}),
        ("https://acme.atlassian.net/issues/?filter=12345", SITE, {"filter": "12345"}),
        ("  https://Acme.Atlassian.NET/issues?filter=12345 ", SITE, {"filter": "12345"}),
        (f"{SITE}/rest/api/3/search/jql?jql=filter%20%3D%2012345", SITE, {"filter": "12345"}),
        (f"{SITE}/issues/?jql=filter%3D12345%20ORDER%20BY%20created", SITE, {"filter": "12345"}),
        (f"{SITE}/issues/?jql=filter+%3D+%2212345%22", SITE, {"filter": "12345"}),
        (f"{SITE}/jira/issues/?filter=12345", SITE, {"filter": "12345"}),
        (f"{SITE}/issues/TG-1?filter=12345", SITE, {"filter": "12345"}),
        (f"{SITE}/issues/?filter=12345&jql=project%20%3D%20TG", SITE, {"jql": "project = TG"}),
        (f"{SITE}/issues/?jql=project%20%3D%20TG%20order%20by%20rank", SITE, {"jql": "project = TG"}),
        (f"{SITE}/issues/?jql=summary~%22order%20by%22", SITE, {"jql": 'summary~"order by"'}),
        (f"{SITE}:443/issues/?jql=a%3D1%20AND%20filter%3D2", SITE, {"jql": "a=1 AND filter=2"}),
        ("http://127.0.0.1:8080/issues/?filter=1", "http://127.0.0.1:8080", {"filter": "1"}),
        ("http://[::1]:8080/?filter=1", "http://[::1]:8080", {"filter": "1"}),
        ("jira.acme.com/jira/issues/?filter=1", "https://jira.acme.com/jira", {"filter": "1"}),
        (
            "jira.acme.com/secure/IssueNavigator.jspa?mode=hide&requestId=1",
            "https://jira.acme.com",
            {"filter": "1"},
        ),
        ("jira.company.com/rest/api/latest/search?jql=filter=12345", DC, {"filter": "12345"}),
        ("jira.company.com/issues/?filter=12345", DC, {"filter": "12345"}),
        ("jira.company.com/issues/?#filter=12345", DC, {"filter": "12345"}),
        ("jira.company.com/issues/#?filter=12345", DC, {"filter": "12345"}),
        ("jira.company.com/browse/TG-1#issues/?jql=project%20%3D%20TG", DC, {"jql": "project = TG"}),
        ("jira.company.com/browse/TG-1?filter=12345", DC, {"filter": "12345"}),
        ("jira.company.com/browse/TG-1?jql=status%20%3D%20Open", DC, {"jql": "status = Open"}),
        ("jira.company.com/browse/TG", DC, {"jql": "project = TG"}),
        ("jira.company.com/browse/TG/#selectedTab=x.y%3Aissues-panel", DC, {"jql": "project = TG"}),
        ("jira.company.com/projects/TG", DC, {"jql": "project = TG"}),
        ("jira.company.com/projects/ORDER/summary", DC, {"jql": 'project = "ORDER"'}),
        ("jira.company.com/projects/TG/issues/TG-7?filter=allissues", DC, {"jql": "project = TG"}),
        (
            "jira.company.com/projects/TG/issues?filter=allopenissues",
            DC,
            {"jql": "project = TG AND resolution = Unresolved"},
        ),
        (
            "jira.company.com/secure/IssueNavigator.jspa?reset=true&jqlQuery=project+%3D+TG+ORDER+BY+key",
            DC,
            {"jql": "project = TG"},
        ),
        ("jira.company.com/rest/api/2/filter/12345", DC, {"filter": "12345"}),
        ("jira.company.com/rest/api/2/project/TG", DC, {"jql": "project = TG"}),
        ("jira.company.com/plugins/servlet/project-config/TG/roles", DC, {"jql": "project = TG"}),
        (
            "jira.company.com/sr/jira.issueviews:searchrequest-xml/12345/SearchRequest-12345.xml",
            DC,
            {"filter": "12345"},
        ),
        ("http://h:8080/tools/jira/browse/TG", "http://h:8080/tools/jira", {"jql": "project = TG"}),
        ("http://h:8080/tools/jira/?filter=1", "http://h:8080/tools/jira", {"filter": "1"}),
        (f"{SITE}/jira/software/c/projects/TG/issues/", SITE, {"jql": "project = TG"}),
        (f"{SITE}/jira/software/c/projects/TG/issues/?jql=type%20%3D%20Bug", SITE, {"jql": "type = Bug"}),
        (f"{SITE}/jira/core/projects/TG/list", SITE, {"jql": "project = TG"}),
        (f"{SITE}/jira/software/projects/TG/boards/1?jql=type%20%3D%20Bug", SITE, {"jql": "type = Bug"}),
        ("own.acme.com/jira/software/projects/TG/summary", "https://own.acme.com", {"jql": "project = TG"}),
        ("https://jira.atlassian.com/browse/JRA", "https://jira.atlassian.com", {"jql": "project = JRA"}),
        (
            "https://api.atlassian.com/ex/jira/11-22/issues/?filter=1",
            "https://api.atlassian.com/ex/jira/11-22",
            {"filter": "1"},
        ),
        (
            "https://api.atlassian.com/ex/jira/11-22/rest/api/3/search/jql?jql=filter=1",
            "https://api.atlassian.com/ex/jira/11-22",
            {"filter": "1"},
        ),
    ],
)
def test_a_pasted_url_is_understood(url: str, base: str, options: dict[str, str]) -> None:
    target = Jira.parse(url, {})
    assert (target.base, dict(target.options)) == (base, options)


@pytest.mark.parametrize(
    ("params", "options"),
    [
        ({"jql": "project = TG ORDER BY rank"}, {"jql": "project = TG"}),
        ({"jql": "filter = 12345"}, {"filter": "12345"}),
        ({"filter": 12345}, {"filter": "12345"}),
        ({"filter": "012345"}, {"filter": "12345"}),
        ({"filter": "1", "since": "2025-01-31"}, {"filter": "1", "since": "2025-01-31T00:00:00Z"}),
        (
            {"filter": "1", "since": "2025-01-31T10:00:00+02:00"},
            {"filter": "1", "since": "2025-01-31T08:00:00Z"},
        ),
        ({"filter": "1", "exclude": ["fields.x"], "columns": {}, "census_every": "24h"}, {"filter": "1"}),
    ],
)
def test_a_bare_site_takes_its_query_from_the_parameters(
    params: dict[str, object], options: dict[str, str]
) -> None:
    target = Jira.parse("acme.atlassian.net", params)
    assert (target.base, dict(target.options)) == (SITE, options)


def test_one_filter_has_one_canonical_spelling() -> None:
    spellings = [
        Jira.parse("acme.atlassian.net/rest/api/latest/search?jql=filter=12345", {}),
        Jira.parse(f"{SITE}/issues/?filter=12345", {}),
        Jira.parse(f"{SITE}/", {"jql": "filter = 12345 order by key"}),
    ]
    assert {target.canonical for target in spellings} == {f"{SITE}/issues/?filter=12345"}


@pytest.mark.parametrize(
    "url",
    [
        f"{SITE}/issues/?jql=labels%20in%20(a%2Cb)%20%26%20x",
        "jira.company.com/jira/browse/TG",
        "jira.company.com/projects/IN",
        "https://api.atlassian.com/ex/jira/11-22?filter=7",
    ],
)
def test_a_canonical_url_means_what_was_pasted(url: str) -> None:
    target = Jira.parse(url, {})
    assert Jira.parse(target.canonical, {}) == target


@pytest.mark.parametrize(
    ("url", "params", "field", "says"),
    [
        ("", {}, "url", "URL is needed"),
        ("acme.atlassian.net", {}, "url", "params.jql"),
        ("acme.atlassian.net/browse/TG-1", {}, "url", "params.jql"),
        ("jira.acme.com/jira/issues/TG-1", {}, "url", "single issue TG-1"),
        (f"{SITE}/rest/api/3/issue/10001", {}, "url", "single issue"),
        (f"{SITE}/jira/software/projects/TG/boards/1", {}, "url", "board.*/browse/TG"),
        (f"{SITE}/jira/software/c/projects/TG/boards/1/backlog", {}, "url", "board.*project = TG"),
        (f"{SITE}/jira/core/projects/TG/board", {}, "url", "board"),
        (f"{SITE}/jira/servicedesk/projects/TG/queues/custom/7", {}, "url", "queue"),
        ("jira.acme.com/secure/RapidBoard.jspa?rapidView=1&projectKey=TG", {}, "url", "board"),
        ("jira.acme.com/rest/agile/1.0/board/1/issue", {}, "url", "board"),
        ("jira.acme.com/j/secure/Dashboard.jspa?selectPageId=10", {}, "url", "dashboard"),
        (f"{SITE}/jira/dashboards/10000", {}, "url", "dashboard"),
        (f"{SITE}/jira/filters", {}, "url", "list of filters"),
        (f"{SITE}/servicedesk/customer/portal/3", {}, "url", "portal"),
        (f"{SITE}/wiki/spaces/TG", {}, "url", "Confluence"),
        (f"{SITE}/jira/your-work", {}, "url", "names a site but no issues"),
        (f"{SITE}/projects/TG/issues?filter=myopenissues", {}, "url", "Jira itself offers"),
        ("https://api.atlassian.com/rest/api/3/search/jql?jql=filter=1", {}, "url", "cloudId"),
        ("https://api.atlassian.com/ex/confluence/11-22", {"jql": "project = TG"}, "url", "ex/jira"),
        ("https://api.atlassian.com/ex/jira/", {"jql": "project = TG"}, "url", "cloudId"),
        ("https://id.atlassian.com/manage-profile", {"jql": "project = TG"}, "url", "No Jira is at"),
        ("acme.atlassian.net/issues/?jql=ORDER%20BY%20created", {}, "url", "restricts nothing"),
        ("acme.atlassian.net/issues/?filter=-1", {}, "url", "number"),
        ("acme.atlassian.net/issues/?filter=mine", {}, "url", "number"),
        ("acme.atlassian.net/issues/?jql=(project=TG", {}, "url", "not closed"),
        ("acme.atlassian.net/issues/?jql=a=1)%20OR%20(b=2", {}, "url", "no opening"),
        ("acme.atlassian.net/issues/?jql=a=%22b", {}, "url", "quote"),
        ("https://ada:secret@acme.atlassian.net/?filter=1", {}, "url", "credential"),
        ("ftp://acme.atlassian.net/?filter=1", {}, "url", "https"),
        ("https:///issues/?filter=1", {}, "url", "no host"),
        ("https://acme.atlassian.net:99999/?filter=1", {}, "url", "not a URL"),
        ("https://ac me/?filter=1", {}, "url", "no host"),
        (SITE, {"jql": ""}, "params.jql", "empty"),
        (SITE, {"jql": 7}, "params.jql", "text"),
        (SITE, {"jql": "order by key"}, "params.jql", "restricts nothing"),
        (SITE, {"filter": "x"}, "params.filter", "number"),
        (SITE, {"filter": "1", "jql": "a=1"}, "params.filter", "not both"),
        (f"{SITE}/issues/?filter=1", {"jql": "project = TG"}, "params.jql", "already"),
        (f"{SITE}/issues/?filter=1", {"since": "yesterday"}, "params.since", "date"),
        (f"{SITE}/issues/?filter=1", {"since": "1901-01-01"}, "params.since", "date"),
        (f"{SITE}/issues/?filter=1", {"projects": "TG"}, "params.projects", "not known"),
    ],
)
def test_what_cannot_work_is_refused_with_the_field_and_what_would(
    url: str, params: dict[str, object], field: str, says: str
) -> None:
    with pytest.raises(BadTarget, match=says) as refused:
        Jira.parse(url, params)
    assert refused.value.field == field
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    "base", ["https://api.atlassian.com/ex/jira/11-22", "https://jira.company.com/a/b", "http://h:8080"]
)
def test_a_bare_address_keeps_its_path(base: str) -> None:
    assert Jira.parse(f"{base}/", {"jql": "project = TG"}).base == base
