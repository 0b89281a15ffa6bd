"""Pages, pictures and paragraphs as text, from the templates of this package."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined, select_autoescape


@cache
def _templates(undefined: type[Undefined]) -> Environment:
    return Environment(
        loader=PackageLoader("bids_group.output.report", "templates"),
        autoescape=select_autoescape(("html.j2", "svg.j2")),
        undefined=undefined,
        trim_blocks=True,
    )


def fill_template(name: str, *, is_lenient: bool = False, **values: Any) -> str:
    """Fill a template of this package: what is put into pages and pictures is escaped.

    ``is_lenient``: what is not given is empty, instead of an error.
    """
    return _templates(Undefined if is_lenient else StrictUndefined).get_template(name).render(values)
