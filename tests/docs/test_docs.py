"""The documentation is true: its code runs, its commands parse, its links lead somewhere, its tables are complete."""

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import tyro

import dapter
from dapter import cli, plugins
from dapter.defences.budget import Budget
from dapter.defences.dapter import Dapter
from dapter.loop import Plan
from dapter.types import Measurement

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
REFERENCE = (ROOT / "docs/reference.md").read_text()
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """(what follows the language, the block's first line number, its text)."""
    text = page.read_text()
    return [
        (found[2], text.count("\n", 0, found.start(3)), found[3])
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def commands():
    found = []
    for page in PAGES:
        for _, _, text in blocks(page, "console"):
            lines = text.replace("\\\n", " ").splitlines()
            found += [pytest.param(line[2:], id=f"{name(page)}: {line}") for line in lines if line.startswith("$ ")]
    return found


@pytest.fixture
def plugin_folders(tmp_path, monkeypatch):
    """Folders beside the package's own, in which plug-ins are found as well."""
    for kind in plugins.KINDS:
        package = __import__(f"dapter.{kind}", fromlist=["__path__"])
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "src/dapter" / kind)])


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
@pytest.mark.usefixtures("plugin_folders")
def test_the_code_of_a_page_runs_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "__main__"}
    for file, line, code in blocks(page, "python"):
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(code)
        else:
            exec(compile("\n" * line + code, page, "exec"), space)


@pytest.mark.parametrize("command", commands())
def test_a_command_can_be_given_like_that(command):
    program, *args = shlex.split(command, comments=True)
    if program == "dapter":
        tyro.cli(cli.Verb, args=args)
    elif program == "make":
        assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in args)
    elif program == "python":
        assert (ROOT / args[0]).is_file()
    else:
        pytest.fail(f"{program} is not checked: put the command into a ```text block")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, link


def verbs(union, before=""):
    for annotated in get_args(union):
        kind, config, *_ = get_args(annotated)
        inner = getattr(kind, "__annotations__", {}).get("action")
        yield from verbs(get_args(inner)[0], f"{config.name} ") if inner else [before + config.name]


def test_the_reference_names_everything():
    names = [
        *dapter.__all__,
        *verbs(cli.Verb),
        *(entry.name for kind in (Measurement, Plan, Dapter, Budget) for entry in fields(kind)),
        *(each for kind in plugins.KINDS for each in plugins.names(kind)),
    ]
    assert [each for each in names if not re.search(rf"`{each}[`(]", REFERENCE)] == []


def test_the_tree_in_the_readme_is_there():
    (tree,) = [text for title, _, text in blocks(ROOT / "README.md", "text") if title == "tree"]
    named, folders = set(), []
    for line in tree.splitlines():
        entry = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], entry]
        named.add("".join(folders))
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert [path for path in (ROOT / "src/dapter").glob("*.py") if f"src/dapter/{path.name}" not in named] == []
