"""Which system a pasted URL belongs to, and what of it would be read. No request is made."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from adapters.base import Adapter, BadTarget, Target
from api.ui import words
from worker.remote import Adapters

#: What the addresses of a system look like.
SIGNS: Mapping[str, re.Pattern[str]] = {
    "jira": re.compile(r"jira|atlassian|/rest/api/|/issues/|/browse/|/secure/|[?&](?:jql|filter)=", re.I),
    "jenkins": re.compile(r"jenkins|/job/|/view/|/blue/|^(?:https?://)?ci[.-]", re.I),
    "azure": re.compile(r"dev\.azure\.com|visualstudio\.com|/tfs/|azure|/_(?:git|work|build|apis)", re.I),
}


class Candidate(msgspec.Struct, frozen=True):
    """A system that can make something of the URL, or says what is wrong with it."""

    system: str
    signed: bool
    what: str | None
    problem: str | None


def candidates(adapters: Adapters, url: str, params: Mapping[str, object]) -> list[Candidate]:
    """The systems that it may be, the likeliest first; none for an empty text."""
    if not url.strip():
        return []
    found = [_candidate(name, adapter, url, params) for name, adapter in sorted(adapters.items())]
    if any(one.signed for one in found):
        # Where one is plainly meant, what others would make of it only confuses.
        found = [one for one in found if one.signed or one.system not in SIGNS]
    return sorted(
        (one for one in found if one.signed or one.problem is None),
        key=lambda one: (not one.signed, one.problem is not None),
    )


def best(found: Sequence[Candidate]) -> str | None:
    """The system that is meant, where only one can be."""
    good = [one for one in found if one.problem is None]
    if good and (good[0].signed or len(good) == 1):
        return good[0].system
    return None


def _candidate(name: str, adapter: type[Adapter], url: str, params: Mapping[str, object]) -> Candidate:
    signed = name in SIGNS and SIGNS[name].search(url) is not None
    try:
        target = adapter.parse(url, params)
    except BadTarget as e:
        return Candidate(name, signed, None, e.message)
    return Candidate(name, signed, _what(name, target), None)


def _what(system: str, target: Target) -> str:
    """What would be read, in words."""
    options, host = target.options, target.base.partition("://")[2].partition("/")[0]
    match system:
        case "jira":
            if "filter" in options:
                return f"The issues of filter {options['filter']} at {host}"
            return f"The issues with {' '.join(options['jql'].split())} at {host}"
        case "jenkins":
            path = options.get("path", "")
            if not path:
                return f"All jobs of {host}"
            kind = "The view" if options.get("view") else "The job or folder"
            return f"{kind} {path.replace('/job/', ' / ').replace('/view/', ' / ').strip(' /')} at {host}"
        case "azure":
            project = options.get("project")
            if project:
                return f"The project {project} of {target.base.partition('://')[2]}"
            if "tail" in options:
                return f"The organisation, collection or project {options['tail']} at {host}"
            return f"All projects of {target.base.partition('://')[2]}"
    return f"{words.system(system)}: {target.canonical}"
