"""In one glance: the question, a card for each contrast, warnings and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bids_group.output.report.sections import Part, Report, Section


def glance(report: Report) -> Section:
    """Say what was asked and what each correction answers."""
    questions = [Part("question", _question(one.facts)) for one in report.analyses]
    notices = Part("notices", _notices(report))
    return Section("glance", "In one glance", [*questions, Part("cards", report.articles), notices])


def _question(facts: Mapping[str, Any]) -> str:
    rows = f" ({facts['n_rows']} rows)" if facts["n_rows"] != facts["n_people"] else ""
    people = f"{facts['n_people']} participants{rows}"
    return f"{facts['title']} in {people}, model {facts['formula']}. Asked: {'; '.join(facts['contrasts'])}."


def _notices(report: Report) -> list[dict[str, Any]]:
    """Distinct notices of all analyses, warnings first."""
    told = [dict(notice) for one in report.analyses for notice in one.files.info.notices or []]
    found = [{key: notice.get(key) for key in ("severity", "sentence", "fix")} for notice in told]
    distinct = [notice for index, notice in enumerate(found) if notice not in found[:index]]
    return sorted(distinct, key=lambda notice: notice["severity"] != "warning")
