"""Takes the pictures of page and terminal: the real thing, simulated remotes. `make pictures` runs it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from docs.terminal import Size, last_drawn, last_screen, page, recorded
from tests.chaos.servers import free_port
from tests.chromium import chromium, window
from tests.tidegates import Up, environ, running
from tidegate.demo.remotes.azure import AzureDevOps
from tidegate.demo.remotes.jenkins import JenkinsController
from tidegate.demo.remotes.jira import JiraCloud

HERE = Path(__file__).parent / "pictures"
USER, TOKEN = "ana@example.com", "a token of the pictures"
ROUNDS = 7
#: In which connections fill, issues change, a build ends, a limit is waited out, and a token expires.
STORY_SECONDS = 110
TEAMS = {
    "WEB": ("Web shop", 640),
    "APP": ("Mobile app", 380),
    "OPS": ("Operations", 150),
    "PAY": ("Payments", 90),
}


class Remotes:
    """What is kept in step in the pictures."""

    def __init__(self, jira: JiraCloud, jenkins: JenkinsController, azure: AzureDevOps) -> None:
        self.jira, self.jenkins, self.azure = jira, jenkins, azure
        self.random = Random(4)  # noqa: S311 - a story, no secret
        jira.administrators.add(jira.add_account(USER, TOKEN, name="Ana Reyes").account_id)
        for key, (_, issues) in TEAMS.items():
            jira.seed(issues, project=key, spread=timedelta(minutes=7))
        jenkins.users["ana"] = TOKEN
        jenkins.seed(jobs=5, builds=40, randomness=self.random)
        jenkins.add_folder("mobile")
        jenkins.add_job("mobile/release")
        azure.access.tokens[TOKEN] = azure.model.me
        azure.model.seed(300, self.random, project="Warehouse")
        azure.model.seed_builds(60, self.random, project="Warehouse")

    def go_on(self) -> None:
        """Some hours of work."""
        issues = list(self.jira.issues)
        for _ in range(self.random.randint(3, 30)):
            self.jira.update_issue(self.random.choice(issues), status=self.random.choice(("Done", "To Do")))
        for _ in range(self.random.randint(0, 4)):
            self.jira.create_issue(self.random.choice(list(TEAMS)), "Orders are shown twice", type="Bug")
        if self.random.random() < 0.6:
            number = self.jenkins.start_build("mobile/release").number
            self.jenkins.finish_build("mobile/release", number)


async def connected(up: Up, remotes: Remotes) -> dict[str, int]:
    """The connections, by name."""
    jira = {"system": "jira", "kind": "basic", "username": USER, "secret": TOKEN}
    ids = {
        "jira": await _made(up, "credentials", {"name": "Ana at Jira", **jira}),
        "old": await _made(up, "credentials", {"name": "Old token", **jira, "secret": "expired"}),
        "jenkins": await _made(
            up,
            "credentials",
            {
                "name": "Ana at Jenkins",
                "system": "jenkins",
                "kind": "basic",
                "username": "ana",
                "secret": TOKEN,
            },
        ),
        "azure": await _made(
            up, "credentials", {"name": "Warehouse", "system": "azure", "kind": "pat", "secret": TOKEN}
        ),
    }
    found = {}
    for key, (name, _) in TEAMS.items():
        project = await _made(up, "projects", {"name": name, "key": key})
        number = remotes.jira.add_filter(f"project = {key} ORDER BY created DESC", name=name)
        url = f"{remotes.jira.url}/issues/?filter={number}"
        found[f"{name}: issues"] = await _connection(up, f"{name}: issues", "jira", url, ids["jira"], project)
        if key == "PAY":
            found["gone"] = await _connection(up, f"{name}: incidents", "jira", url, ids["old"], project)
        if key == "APP":
            job = f"{remotes.jenkins.base}/job/mobile"
            found["builds"] = await _connection(
                up, f"{name}: builds", "jenkins", job, ids["jenkins"], project
            )
    jobs = remotes.jenkins.base
    found["jobs"] = await _connection(up, "All Jenkins jobs", "jenkins", jobs, ids["jenkins"], None)
    found["lost"] = await _connection(
        up, "Legacy: nightly", "jenkins", f"{jobs}/job/nightly-2019", ids["jenkins"], None
    )
    found["azure"] = await _connection(up, "Warehouse", "azure", remotes.azure.base, ids["azure"], None)
    return found


async def _made(up: Up, kind: str, body: Mapping[str, Any]) -> int:
    return int((await up.call("POST", f"/v1/{kind}", body))["id"])


async def _connection(up: Up, name: str, system: str, url: str, credential: int, project: int | None) -> int:
    body = {"name": name, "system": system, "url": url, "credential_id": credential, "project_id": project}
    return await _made(up, "connections", {**body, "frequency": "every 15m"})


async def lived(up: Up, remotes: Remotes, found: Mapping[str, int]) -> None:
    """Several rounds of syncs, with something to do in each."""
    for turn in range(ROUNDS):
        remotes.go_on()
        await asyncio.gather(*(up.synced(one) for one in found.values()))
        if turn == ROUNDS - 2:
            paused = found["Operations: issues"]
            await up.call("PATCH", f"/v1/connections/{paused}", {"enabled": False})
            found = {name: one for name, one in found.items() if one != paused}


async def taken(up: Up, found: Mapping[str, int], remotes: Remotes) -> None:
    """The pictures, light and dark."""
    HERE.mkdir(exist_ok=True)
    web = f"/connections/{found['Web shop: issues']}"
    pasted = f"{remotes.jira.url}/issues/?filter={remotes.jira.add_filter('project = WEB')}"
    paths = {
        "connections": "/",
        "connection": web,
        "trouble": f"/connections/{found['gone']}",
        "add": f"/connections/new?url={pasted}",
    }
    async with chromium() as browser:
        for dark in (True, False):
            async with window(browser, up.url, dark=dark) as seen:
                page = await seen.sign_in(up.admin_key)
                for name, path in paths.items() if not dark else [("connections", "/")]:
                    await page.goto(up.url + path)
                    if name == "add":
                        await page.get_by_role("button", name="Test").click()
                        await page.wait_for_selector("#tested section")
                    await page.wait_for_timeout(800)
                    await page.evaluate("document.activeElement.blur()")
                    await page.screenshot(path=HERE / f"{name}{'-dark' if dark else ''}.png")
        async with window(browser, up.url, wide=390) as seen:
            page = await seen.sign_in(up.admin_key)
            await page.wait_for_timeout(800)
            await page.screenshot(path=HERE / "phone.png")


@asynccontextmanager
async def remotes() -> AsyncIterator[Remotes]:
    async with JiraCloud() as jira, JenkinsController() as jenkins, AzureDevOps("company") as azure:
        yield Remotes(jira, jenkins, azure)


async def typed(up: Up) -> Mapping[str, str]:
    """Pages of the commands that tell of a running Tidegate, by the name of their picture."""
    around = environ(up.data_dir, {"TIDEGATE_PORT": up.url.rpartition(":")[2]})
    size = Size(92, 26)
    alone = await recorded([], around, size, 60)
    top = last_screen(await recorded(["top"], around, size, 20))
    return {"tidegate": page("tidegate", alone, size), "top": page("tidegate top", top, size)}


async def story(folder: Path) -> Mapping[str, str]:
    """The demo, after its limit and before its token is given anew."""
    size = Size(100, 30)
    more = {"TIDEGATE_PORT": str(free_port())}
    plain = {name: value for name, value in environ(folder / ".demo", more).items() if "DATA_DIR" not in name}
    said = await recorded(["demo"], plain, size, STORY_SECONDS, folder)
    return {"demo": page("make demo", last_drawn(said), size)}


async def photographed(pages: Mapping[str, str]) -> None:
    """Pictures of pages that are as large as what is on them."""
    async with chromium() as browser:
        seen = await browser.new_page()
        for name, text in pages.items():
            await seen.set_content(text)
            await seen.locator("pre").screenshot(path=HERE / f"{name}.png")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with remotes() as made, running(Path(folder) / "data") as up:
            await up.ready()
            found = await connected(up, made)
            await lived(up, made, found)
            await taken(up, found, made)
            await photographed(await typed(up))
        await photographed(await story(Path(folder)))


if __name__ == "__main__":
    asyncio.run(main())
