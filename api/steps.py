"""How a person sets up webhooks at each system: steps with what to choose there, and values to copy."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from adapters.base import Target

#: The secret is known to who gave it, and shown to nobody.
SECRET = "the webhook secret of this connection"  # noqa: S105 - says which
_CLOUD = (".atlassian.net", "api.atlassian.com")
_SERVICES = ("dev.azure.com", ".visualstudio.com")
_JIRA_EVENTS = "Issue: created, updated, deleted; Comment and Worklog: created, updated, deleted"
_AZURE_EVENTS = (
    "Work item created, updated, deleted, restored, commented on; Build completed; Code pushed; "
    "Pull request created, updated, merge attempted; Run state changed"
)


class Step(msgspec.Struct, frozen=True):
    """One step. `where` is an address, or the way through the menus; `values` are to be copied there."""

    title: str
    where: str
    values: Mapping[str, str] = {}


class About(msgspec.Struct, frozen=True):
    """What the steps are about: the connection's name, the address to be called, and what is known."""

    name: str
    address: str
    has_secret: bool
    target: Target | None

    @property
    def host(self) -> str:
        return (urlsplit(self.target.base).hostname or "") if self.target else ""

    def base(self, example: str) -> str:
        return self.target.base if self.target else example


def steps(system: str, about: About) -> Sequence[Step]:
    """The steps of a system; of one that a package adds, what holds for all."""
    match system:
        case "jira":
            return _jira(about)
        case "jenkins":
            return _jenkins(about)
        case "azure":
            return _azure(about)
    return [Step(f"Have {system} send its webhooks here", f"In {system}", {"URL": about.address})]


def _jira(about: About) -> Sequence[Step]:
    cloud = about.host.endswith(_CLOUD)
    base = about.base("https://your-site.atlassian.net")
    if about.host == "api.atlassian.com":
        base = "https://your-site.atlassian.net"
    values = {"Name": f"Tidegate: {about.name}", "Status": "Enabled", "URL": about.address}
    if about.has_secret:
        values["Secret"] = SECRET
    menus = "Settings > System > WebHooks" if cloud else "Administration > System > WebHooks"
    exclude = "Exclude body: No" if cloud else "Exclude body: not chosen"
    return [
        Step(
            f"As an administrator of Jira, open {menus}, and create a webhook",
            f"{base}/plugins/servlet/webhooks",
            values,
        ),
        Step(
            "Choose what it tells of. Restrict it to projects at most: with a status in its JQL, an issue "
            "that leaves the filter would not be told of",
            "Issue related events",
            {"JQL": "empty, or: project = KEY", "Events": _JIRA_EVENTS},
        ),
        Step("Let it send its body, which says which issue it is about", exclude),
    ]


def _jenkins(about: About) -> Sequence[Step]:
    scheme, _, rest = about.address.partition("://")
    url = f"{scheme}://tidegate:SECRET@{rest}" if about.has_secret else about.address
    base = about.base("https://jenkins.example.com")
    job = about.target.canonical if about.target else f"{base}/job/NAME"
    notify = {"Format": "JSON", "Protocol": "HTTP", "Event": "All Events", "URL": url}
    if about.has_secret:
        notify["SECRET"] = SECRET
    every = {"Event Receiver": about.address}
    return [
        Step(
            "Install the plugin Notification, which can prove that it knows a secret, or Generic Event, "
            "which is set up once for all jobs and cannot",
            f"{base}/manage/pluginManager/available",
            {"Plugin": "notification, or generic-event"},
        ),
        Step(
            "With Notification: in each job, Configure > Job Notifications > Add Endpoint",
            f"{job.rstrip('/')}/configure",
            notify,
        ),
        Step(
            "With Generic Event: Manage Jenkins > System > Event Dispatcher. The connection must have no "
            "webhook secret; its address is the proof",
            f"{base}/manage/configure",
            every,
        ),
    ]


def _azure(about: About) -> Sequence[Step]:
    base = about.base("https://dev.azure.com/company")
    project = about.target.options.get("project") if about.target else None
    hosted = not about.host or about.host.endswith(_SERVICES)
    action = {"URL": about.address, "Resource details to send": "Minimal", "Messages to send": "None"}
    if about.has_secret:
        action |= {"Basic authentication username": "tidegate", "Basic authentication password": SECRET}
    needs = "an https address" if about.has_secret else "an address"
    needs += " that is reached from the internet" if hosted else ""
    return [
        Step(
            "In each project, with the permission Edit subscriptions (project administrators have it), open "
            "Service hooks, and create a subscription of Web Hooks",
            f"{base}/{project or 'PROJECT'}/_settings/serviceHooks",
        ),
        Step(
            "One subscription for each event, without filters",
            "Trigger",
            {"Trigger on this type of event": _AZURE_EVENTS},
        ),
        Step(f"What it does; it needs {needs}", "Action", action),
    ]
