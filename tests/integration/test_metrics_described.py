"""The reference of metrics and the alerts: they name what there is, and all of it."""

import re
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import own_numbers
from store.database import Database
from tests.api_server import ADMIN_KEY, Api, serving_api
from tests.tree import ROOT

# A tool of the tests' tools, without types.
yaml: Any = import_module("yaml")

pytestmark = pytest.mark.sqlite_does
FOLDER = ROOT / "deploy" / "prometheus"
NAME = re.compile(r"\b(?:tidegate|process)_[a-z_]+\b")
_LABELS = re.compile(r"by \(([a-z_]+)\)|\{([a-z_]+)=\"([a-z]+)\"\}")


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async def redis_answers() -> bool:
        return True

    async with serving_api(database, metrics=own_numbers(), redis_answers=redis_answers) as served:
        made = await served.shelf("shelf.example/3?state=torn", frequency="hourly")
        await served.synced(made["id"])
        yield served


async def told(api: Api) -> dict[str, list[dict[str, str]]]:
    """The labels of the samples of each metric, by its name as queries have it."""
    async with api.http.get(f"{api.url}/metrics", headers={"X-API-Key": ADMIN_KEY}) as answer:
        families = [*text_string_to_metric_families(await answer.text())]
    return {
        family.name + ("_total" if family.type == "counter" else ""): [one.labels for one in family.samples]
        for family in families
    }


def rows() -> dict[str, str]:
    """The first and second column of the reference, by the name of the metric."""
    section = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("\n## Metrics\n")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {name: cell[1] for cell in cells for name in NAME.findall(cell[0])}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_the_reference_has_every_metric_and_no_other(api: Api) -> None:
    assert sorted(rows()) == sorted(await told(api))


async def test_the_reference_has_every_label(api: Api) -> None:
    about = rows()
    for name, samples in (await told(api)).items():
        labels = {label for sample in samples for label in sample} - {"le"}
        assert [one for one in labels if f"`{one}`" not in about[name]] == [], name


async def test_alerts_name_metrics_and_labels_that_there_are(api: Api) -> None:
    known = await told(api)
    for rule in alerts():
        names = NAME.findall(rule["expr"])
        assert names
        assert set(names) <= set(known), rule["alert"]
        for by, label, value in _LABELS.findall(rule["expr"]):
            samples = [sample for name in names for sample in known[name]]
            assert any(sample.get(by or label, "") or (by or label) in sample for sample in samples), rule
            assert not value or any(sample.get(label) == value for sample in samples), rule


def test_one_alert_wakes_somebody_and_all_say_what_to_do() -> None:
    found = alerts()
    assert [rule["alert"] for rule in found if rule["labels"]["severity"] == "page"] == [
        "TidegateConnectionStale"
    ]
    assert all(rule["annotations"]["summary"] and rule["annotations"]["description"] for rule in found)
    assert len({rule["alert"] for rule in found}) == len(found)


def test_the_scrape_configuration_names_the_alerts_and_the_port_that_is_the_default() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))
    assert all((FOLDER / name).is_file() for name in config["rule_files"])
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8420"]}]
