"""The documentation: every page is in the site, its links lead somewhere, its commands are commands."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from bids_group.cli.parser import read_arguments

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def _load():
    spec = importlib.util.spec_from_file_location("site_of_docs", DOCS / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SITE = _load()


def files_of(nav):
    for one in nav:
        for part in one.values() if isinstance(one, dict) else (one,):
            yield from files_of(part) if isinstance(part, list) else (part,)


def anchor(heading):
    """Name a heading as GitHub and the site do."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def test_every_page_is_in_the_site_and_every_page_of_the_site_is_there():
    nav = set(files_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    made = {"index.md", "options.md", *SITE.SECTIONS.values(), *SITE.PAGES.values()}
    assert nav == made | {path.relative_to(DOCS).as_posix() for path in PAGES}
    titles = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(SITE.SECTIONS) <= set(titles)
    assert {name for name, _ in SITE.split_readme()} == {"index.md", *SITE.SECTIONS.values()}


@pytest.mark.parametrize(
    "path", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name
)
def test_links_between_files_lead_to_files_and_headings(path):
    for target, place in re.findall(r"\]\((?!\w+:)([^)\s#]*)#?([^)\s]*)\)", path.read_text(encoding="utf-8")):
        there = (path.parent / target).resolve() if target else path
        assert there.is_file(), target
        if place:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert place in map(anchor, headings), f"{target}#{place}"


@pytest.mark.parametrize("name", ["tutorial.md", "coming_from.md"])
def test_commands_are_read_by_the_command_line(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("bids-group ")]
    assert commands
    for command in commands:
        assert read_arguments(command).level == "group"


def test_options_that_pages_name_exist():
    known = set(re.findall(r"--[a-z][a-z0-9-]+", SITE.list_options()))
    others = {"--help", "--permute"}  # the latter FSL's
    for name in ("tutorial.md", "coming_from.md", "which_options.md", "statistics.md"):
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", (DOCS / name).read_text(encoding="utf-8")))
        assert told <= known | others, name


def test_links_of_the_readme_are_moved_to_the_pages_of_the_site():
    moved = SITE.move_links(
        "[a](docs/hpc.md#x) [b](#what-comes-out) [c](CONTRIBUTING.md) [d](https://a.b)", "README.md"
    )
    assert moved == "[a](hpc.md#x) [b](outputs.md) [c](contributing.md) [d](https://a.b)"
    below = SITE.move_links(
        "[a](../README.md#limits) [b](../hpc.md) [c](../../README.md)", "docs/gallery/x.md"
    )
    assert below == "[a](../README.md#limits) [b](../hpc.md) [c](../index.md)"
    assert SITE.move_links("`[a](b.md)`\n```\n[a](b.md)\n```", "docs/x.md").count("(b.md)") == 2
