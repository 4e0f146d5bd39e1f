"""Ana and her connection."""

from tests.tidegates import Up
from tidegate.demo.remotes.jira import JiraCloud

#: The page's scripts are at work, and it is told of what happens.
LIVE = "body[data-line='open']"


async def connect(up: Up, site: JiraCloud, name: str = "The team's issues", secret: str = "token-1") -> int:
    credential = {"name": "ana", "system": "jira", "kind": "basic", "username": "ana@example.com"}
    made = await up.call("POST", "/v1/credentials", {**credential, "secret": secret})
    url = f"{site.url}/issues/?filter={site.add_filter('project = TG')}"
    wanted = {"name": name, "system": "jira", "url": url, "credential_id": made["id"]}
    connection = await up.call("POST", "/v1/connections", {**wanted, "frequency": "manually"})
    return int(connection["id"])
