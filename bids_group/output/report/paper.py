"""Templates filled with escaped text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bids_group.output.report.flow import FlowBox


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paper:
    """The templates of this package; everything put into them is escaped."""

    environment: Environment

    @classmethod
    def unroll(cls) -> Paper:
        """Load the templates."""
        loader = PackageLoader("bids_group.output.report", "templates")
        return cls(
            environment=Environment(
                loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
            )
        )

    def draw_flow(self, boxes: Sequence[FlowBox], width: int, height: int) -> str:
        """Spell the flow of people as SVG."""
        return self.environment.get_template("flow.svg.j2").render(
            boxes=boxes, arrows=_arrows(boxes), width=width, height=height
        )

    def print_page(self, page: Any, template: str = "report.html.j2") -> str:
        """Spell a page by its template."""
        source = {name: self._text(name) for name in ("style.css", "report.js")}
        return self.environment.get_template(template).render(
            page=page, style=source["style.css"], script=source["report.js"]
        )

    def _text(self, name: str) -> str:
        loader = self.environment.loader
        assert loader is not None
        return loader.get_source(self.environment, name)[0]


def _arrows(boxes: Sequence[FlowBox]) -> list[tuple[int, int, int, int]]:
    """Lines down from one main box to the next, and across to each side box."""
    main = [box for box in boxes if not box.is_side]
    down = [
        (above.width // 2, above.y + above.height, above.width // 2, below.y)
        for above, below in pairwise(main)
    ]
    across = [
        (main[0].width // 2, box.y + box.height // 2, box.x, box.y + box.height // 2)
        for box in boxes
        if box.is_side
    ]
    return down + across
