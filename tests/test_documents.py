"""The documents: every link, every anchor, and every command and Python program in a code block.

Python blocks are executed. Most commands download data, train for hours or need a GPU, so they are
not run here. A training is started with --dry-run, and fairseq parses the command that this prints.
Of any other command of this project, every option must be in its --help.
"""

import functools
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from commands import ROOT, run

from fairseq_wsum import kernels

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
LANGUAGES = {"sh", "python", "text", "yaml", "json", "bibtex", "{eval-rst}", "{toctree}"}
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")

OTHERS = {"awk", "echo", "export", "mkdir", "pgrep", "pip", "pkill", "python", "source"}
OTHERS |= {"sphinx-build"}
PLACEHOLDERS = {"N": "1", "NAME": "lstm"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, less those that say why they are not run."""
    marked = re.compile(r"^<!-- not run: [^\n]+ -->\n```.*?^```$", re.M | re.S)
    text = marked.sub("", page.read_text())
    return [block for name, block in BLOCK.findall(text) if name == language]


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


# Links


def anchors(page: Path) -> set[str]:
    """Those of the headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_leads_to_an_existing_file_and_anchor(page) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), link  # the site has no page for a folder
        assert not anchor or anchor in anchors(target), link


@every_page
def test_every_code_block_names_its_language(page) -> None:
    """The tests below would miss a block that is indented or in another language."""
    assert {language for language, _ in BLOCK.findall(page.read_text())} <= LANGUAGES
    assert "```" not in prose(page) and "\n\n    " not in prose(page)


# Python


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page) -> None:
    if page.name == "backends.md" and kernels.why_missing():
        pytest.skip("its block calls a C++ kernel")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


# Commands


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command, with the values of the shell's variables."""
    values: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", "\n".join(blocks(page, "sh"))).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";|&()"):
                word = re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m[1], m[0]), word)
                command.append(PLACEHOLDERS.get(word, word))
                continue
            if command[:1] == ["for"]:
                values[command[1]] = command[3]  # the first of the list
                command = []
            while command and command[0] in ("do", "while", "done", ":"):
                command.pop(0)
            while command and re.match(r"\w+=", command[0]):
                name, _, value = command.pop(0).partition("=")
                if not command:
                    values[name] = value
            if command:
                yield command
            command = []


def is_ours(word: str) -> bool:
    return re.fullmatch(r"fairseq-[\w-]+|[\w/]+/\w+\.(sh|py)", word) is not None


@every_page
def test_every_option_of_every_command_exists(page) -> None:
    for command in commands(page):
        start = next((i for i, word in enumerate(command) if is_ours(word)), len(command))
        launcher, ours = command[:start], command[start:]
        if launcher[:1] == ["torchrun"]:
            check_help(launcher)
        elif launcher:
            assert launcher[0] in OTHERS, command
        if ours:
            check(ours)


def check(command: list[str]) -> None:
    name, *words = command
    if name == "fairseq-hydra-train":
        options = dict(pairwise(words))
        config = f"{options['--config-dir']}/{options['--config-name']}.yaml"
        assert (ROOT / config).is_file()  # other tests train with it
    elif name in FAIRSEQ:
        parse(command)
    elif "scripts/train.sh" in name or "any option of scripts/train.sh" in help_of(name):
        if "--user-dir" in words:  # commands run in /
            place = words.index("--user-dir") + 1
            words[place] = str(ROOT / words[place])
        printed = run(ROOT / name, *words, "--dry-run").splitlines()
        (training,) = (line for line in printed if line.startswith("fairseq-train "))
        parse(shlex.split(training))
    else:
        check_help(command)


@functools.cache
def help_of(*program: str) -> str:
    """The output of --help, and that of the fairseq command that gets the other options."""
    name, *words = program
    start = (
        ["python", ROOT / name] if name.endswith(".py") else [ROOT / name if "/" in name else name]
    )
    printed = run(*start, *words, "--help")
    further = re.search(r"any option of (fairseq-[\w-]+)", printed)
    return printed + (FAIRSEQ[further[1]]().format_help() if further else "")


def check_help(command: list[str]) -> None:
    name, *words = command
    deeper = words[:1] in (["prepare"], ["recipe"])  # which name a corpus, a recipe
    subcommand = [word for word in words[: 1 + deeper] if re.fullmatch("[a-z0-9]+", word)]
    given = {word.partition("=")[0] for word in words if OPTION.match(word)}
    assert given <= set(OPTION.findall(help_of(name, *subcommand))), command


def _fairseq(parser: str) -> object:
    """A parser of fairseq with what the plugin adds."""
    pytest.importorskip("fairseq")
    from fairseq import options

    import fairseq_wsum.plugin  # noqa: F401

    return getattr(options, f"get_{parser}_parser")()


FAIRSEQ = {
    "fairseq-train": functools.partial(_fairseq, "training"),
    "fairseq-generate": functools.partial(_fairseq, "generation"),
    "fairseq-interactive": functools.partial(_fairseq, "interactive_generation"),
    "fairseq-eval-lm": functools.partial(_fairseq, "eval_lm"),
}


def parse(command: list[str]) -> None:
    """Let fairseq parse a command; it ends with a message where an option is unknown."""
    parser = FAIRSEQ[command[0]]()
    from fairseq import options

    words = command[1:]
    if "--user-dir" in words:  # imported already, and the path may be a placeholder
        place = words.index("--user-dir")
        del words[place : place + 2]
    options.parse_args_and_arch(parser, input_args=words)
