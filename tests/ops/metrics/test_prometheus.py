"""What /metrics really exports, against the document, the dashboard and the alerts that rely on it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest_twisted
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.ops.served import ask
from tests.service_case import Installation
from tests.waiting import until

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "doc/reference/metrics.md"
DASHBOARD = ROOT / "etc" / "grafana" / "zmnext.json"
RULES = ROOT / "etc" / "prometheus" / "zmnext-rules.yml"

NAME = re.compile(r"\bzmnext_[a-z0-9_]+")
MATCHER = re.compile(r"(zmnext_[a-z0-9_]+)\{([^}]*)\}")


@attrs.frozen
class Exported:
    """One metric: its name as it is queried, its type, and the labels that its samples have, None without any sample."""

    name: str
    kind: str
    labels: frozenset[str] | None

    @classmethod
    def of(cls, family: Metric) -> Exported:
        suffix = "_total" if family.type == "counter" else ""
        labels = frozenset().union(*(sample.labels for sample in family.samples)) if family.samples else None
        return cls(f"{family.name}{suffix}", family.type, labels)

    @property
    def series(self) -> set[str]:
        """The names under which it is stored."""
        return (
            {f"{self.name}{end}" for end in ("_bucket", "_count", "_sum")} if self.kind == "histogram" else {self.name}
        )


@pytest_twisted.async_yield_fixture(scope="module")
async def exported(tmp_path_factory: Any) -> AsyncIterator[dict[str, Exported]]:
    """Everything that a service with a living camera and all its parts exports, by name."""
    zm = Installation.make(tmp_path_factory.mktemp("metrics"))
    zm.monitor(1)
    service = zm.service("[zmnext.share_inference]\nenabled = true\n[zmnext.ingest]\nthumbnails = true")
    service.startService()
    try:
        await until(lambda: service.ingest is not None and service.ingest.assign_seconds.count)
        text = (await ask(f"{zm.directory}/run/api.sock", "/metrics")).body.decode()
    finally:
        await service.stopService()
    metrics = [Exported.of(family) for family in text_string_to_metric_families(text)]
    yield {metric.name: metric for metric in metrics}


def documented() -> Iterator[Exported]:
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", DOCUMENT.read_text(), re.MULTILINE):
        yield Exported(name, kind, frozenset(re.findall(r"`(\w+)`", labels)))


def queries() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard and the alerts, with where it stands."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_the_document_lists_just_what_is_exported(exported: dict[str, Exported]) -> None:
    told = {metric.name: metric for metric in documented()}
    assert sorted(told) == sorted(exported)
    for metric in exported.values():
        assert metric.kind == told[metric.name].kind, metric.name
        assert metric.labels in (None, told[metric.name].labels), metric.name


def test_every_query_asks_for_what_is_there(exported: dict[str, Exported]) -> None:
    series = {name for metric in exported.values() for name in metric.series}
    labels = {name: told.labels for told in documented() for name in exported[told.name].series}
    asked = dict(queries())
    assert len(asked) > 40
    for where, query in asked.items():
        assert NAME.findall(query), where
        assert set(NAME.findall(query)) <= series, where
        for name, matchers in MATCHER.findall(query):
            wanted = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)) - {"instance"}
            assert wanted <= (labels[name] or set()), f"{where}: {name}"


def test_the_alerts_are_whole() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} == rule["annotations"].keys()
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}


def test_states_named_in_queries_are_states() -> None:
    from zmtwist.fleet.process.state import State

    named = {
        state
        for _, query in queries()
        for value in re.findall(r"state[!=~]+\"([^\"]+)\"", query)
        for state in value.split("|")
    }
    assert named
    assert named <= {state.value for state in State}


def test_the_panels_do_not_lie_upon_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
