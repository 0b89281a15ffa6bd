"""What the site (mkdocs.yml) shows of what stands elsewhere: README by its sections, options; and formulae.

MkDocs calls `on_files` and `on_page_markdown`. Formulae become MathML here: browsers draw it by themselves.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECTIONS = {
    "What goes in": "inputs.md",
    "What comes out": "outputs.md",
    "The statistics, in plain words": "plain_statistics.md",
    "Speed and memory": "speed.md",
}
"""Sections of README that are pages of their own; the others are the front page."""
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "validation/README.md": "witnesses.md",
}
"""Pages that stand outside docs."""
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]*)(#[^)\s]*)?(?=\))")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand elsewhere, and the files of the repository that pages lead to."""
    from mkdocs.structure.files import File

    pages = {**dict(split_readme()), "options.md": list_options()}
    pages |= {
        name: move_links((ROOT / path).read_text(encoding="utf-8"), path) for path, name in PAGES.items()
    }
    for path in (ROOT / "docs").rglob("*.md"):
        own = path.relative_to(ROOT).as_posix()
        others = _outside(path.read_text(encoding="utf-8"), own)
        pages |= {one: (ROOT / one).read_text(encoding="utf-8") for one in others}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to files outside docs to their pages, draw formulae, and mend bars in the code of tables."""
    if (ROOT / "docs" / page.file.src_uri).is_file():
        markdown = move_links(markdown, f"docs/{page.file.src_uri}")
    if page.file.src_uri == "statistics.md":
        markdown = draw_formulae(markdown)
    return "\n".join(
        re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line) if line.startswith("|") else line
        for line in markdown.split("\n")
    )


def split_readme() -> Iterator[tuple[str, str]]:
    """Give README as pages: sections of `SECTIONS` each, everything else in one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, *sections = re.split(r"^## (?=\w)", text, flags=re.MULTILINE)
    front = [first]
    for section in sections:
        title, _, body = section.partition("\n")
        if title in SECTIONS:
            yield SECTIONS[title], move_links(f"# {title}\n{body}", "README.md")
        else:
            front.append(f"## {section}")
    yield "index.md", move_links("".join(front), "README.md")


def move_links(markdown: str, source: str) -> str:
    """Rewrite links of a file of the repository to where its targets are on the site."""

    def moved(link: re.Match[str]) -> str:
        path, anchor = link[1], link[2] or ""
        if not path and source != "README.md":
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source
        if target == "README.md":
            known = {
                re.sub(r"[^\w -]", "", title).lower().replace(" ", "-"): page
                for title, page in SECTIONS.items()
            }
            page = known.get(anchor.removeprefix("#"))
            target, anchor = (page, "") if page else ("index.md", anchor)
        else:
            target = PAGES.get(target, target.removeprefix("docs/"))
        own = PAGES.get(source, source.removeprefix("docs/"))
        return posixpath.relpath(target, posixpath.dirname(own) or ".") + anchor

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(moved, part) for number, part in enumerate(parts))


def _outside(markdown: str, source: str) -> Iterator[str]:
    """Find files outside docs that are no pages, and that a page leads to."""
    for link in _LINK.finditer(markdown):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if link[1] and not target.startswith("docs/") and target not in {"README.md", *PAGES}:
            yield target


def draw_formulae(markdown: str) -> str:
    """Turn formulae between dollars into MathML, but in code."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        return convert(found[1].strip(), display="block") if found[1] else convert(found[2])

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _FORMULA.sub(drawn, part) for number, part in enumerate(parts))


def list_options() -> str:
    """List the options by the sections of ``--help``, as the parser has them."""
    from bids_group.cli.parser import build_parser

    lines = ["# Options", "", "`bids-group BIDS_DIR OUTPUT_DIR {participant,group} [options]`", ""]
    lines += ["Each may be written with hyphens or underscores, and may stand in a file (`--config`).", ""]
    for group in build_parser()._action_groups:
        actions = [one for one in group._group_actions if one.option_strings and one.dest != "help"]
        if actions:
            lines += [f"## {(group.title or '').capitalize()}", "", "| option | what |", "|---|---|"]
            for one in actions:
                value = (
                    ""
                    if one.nargs == 0
                    else f" {one.metavar or '{' + ','.join(map(str, one.choices or ())) + '}'}"
                )
                names = ", ".join(f"`{name}`" for name in one.option_strings)
                shown = names[:-1] + value + "`" if value else names
                text = (
                    str(one.help)
                    .replace("%%", "%")
                    .replace("|", r"\|")
                    .replace("<", "&lt;")
                    .replace("*", r"\*")
                )
                lines.append(f"| {shown.replace('|', chr(92) + '|')} | {text} |")
            lines.append("")
    return "\n".join(lines)
