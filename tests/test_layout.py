"""The repository is what its pages say it is, and the rooms keep their rules."""

import ast
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.models import OptionInfo
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "goliath_server", "david_client")
PROGRAMS = {"goliath": "goliath_server.cli", "david": "david_client.cli"}
UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
DOCUMENTS = ("README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))))
TREE = "docs/developers.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sources(*rooms):
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def blocks(language, *documents):
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in documents]
    return [body for text in texts for name, body in FENCE.findall(text) if name == language]


# --- the tree ---


def tree_paths(tree: str) -> Iterator[str]:
    """The paths that an annotated tree names: the first word of each line, below less indented."""
    above: list[tuple[int, str]] = []
    for line in tree.splitlines():
        named = re.match(r"([\s│├└─|`]*)(\S+)", line)
        if not named:
            continue
        indent, name = len(named[1]), named[2].strip("/")
        while above and above[-1][0] >= indent:
            above.pop()
        path = f"{above[-1][1]}/{name}" if above else name
        above.append((indent, path))
        yield path


def documented_tree():
    trees = [body for body in blocks("text", TREE) if "\ncommon/" in body]
    assert len(trees) == 1, f"expected one fenced tree in {TREE}, with a line `common/`"
    return set(tree_paths(trees[0]))


def test_tree_paths_follow_the_indentation():
    tree = "a.toml   x\nroom/   y\n    b.py  z, and more\n    deep/er/\n        c.py\nd/\n  e.py"
    assert list(tree_paths(tree)) == [
        "a.toml",
        "room",
        "room/b.py",
        "room/deep/er",
        "room/deep/er/c.py",
        "d",
        "d/e.py",
    ]


def test_tree_names_only_what_exists():
    assert sorted(path for path in documented_tree() if not (ROOT / path).exists()) == []


def test_tree_names_every_module():
    modules = [p for p in sources(*PACKAGES) if p.name != "__init__.py" and p.parent.name != "pb"]
    people = [p for room in ("scripts", "examples") for p in (ROOT / room).iterdir() if p.is_file()]
    rooms = [ROOT / "common/pb", ROOT / "common/bundled", ROOT / "proto/goliath/v1", ROOT / "tests"]
    wanted = {path.relative_to(ROOT).as_posix() for path in [*modules, *people, *rooms]}
    assert sorted(wanted - documented_tree()) == []


# --- the pages ---


def anchors(text: str) -> set[str]:
    """What a link can point to in a page: each heading, as GitHub spells it."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_link_to_what_exists():
    lost = []
    for name in DOCUMENTS:
        page = ROOT / name
        links = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8")))
        for link in (link for link in links if not link.startswith("https://")):
            path, _, anchor = link.partition("#")
            to = (page.parent / path).resolve() if path else page
            if not to.exists() or (
                anchor and anchor not in anchors(to.read_text(encoding="utf-8"))
            ):
                lost.append(f"{name}: {link}")
    assert lost == []


def test_readme_is_short_and_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert [name for name in DOCUMENTS[1:] if f"({name})" not in text] == []


# --- the commands of the pages ---


def documented_commands(*documents):
    typed = re.findall(r"^\$ .*\n", "".join(blocks("console", *documents)), re.MULTILINE)
    lines = "".join([*blocks("sh", *documents), *typed]).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            words[0] = words[0].removeprefix("./").removeprefix(".venv/bin/")
            found.append(words)
    return found


def test_readme_names_its_two_commands():
    named = {words[0] for words in documented_commands("README.md")}
    assert {"scripts/demo", "scripts/test"} <= named


def test_documented_scripts_can_be_run():
    scripts = {
        words[0] for words in documented_commands(*DOCUMENTS) if words[0].startswith("scripts/")
    }
    assert sorted(s for s in scripts if not os.access(ROOT / s, os.X_OK)) == []


def test_documented_commands_and_their_options_exist():
    for words in documented_commands(*DOCUMENTS):
        if words[0] not in PROGRAMS:
            continue
        commands = commands_of(words[0])
        name = words[1] if len(words) > 1 and not words[1].startswith("-") else ""
        assert name in commands, f"documented: {shlex.join(words)}"
        known = {decl for option in options_of(commands[name]) for decl in option.names}
        used = {w.split("=")[0] for w in words if re.match(r"--?[a-z]", w)} - {"--help", "-h"}
        assert used <= known, f"documented: {shlex.join(words)}"


# --- the programs' help ---


def app_of(program):
    return importlib.import_module(PROGRAMS[program]).app


def commands_of(program):
    """The functions behind the commands, by name; "" is the program itself."""
    app = app_of(program)
    found = {c.name or c.callback.__name__.replace("_", "-"): c for c in app.registered_commands}
    found[""] = app.registered_callback
    return {name: info.callback for name, info in found.items() if info}


@dataclass(frozen=True, slots=True)
class Option:
    names: tuple[str, ...]
    kind: str
    """Its type, as text."""
    default: object
    help: str


def options_of(function) -> Iterator[Option]:
    hints = get_type_hints(function, include_extras=True)
    for name, param in inspect.signature(function).parameters.items():
        infos = [i for i in getattr(hints[name], "__metadata__", ()) if isinstance(i, OptionInfo)]
        for info in infos:
            decls = info.param_decls or (f"--{name.replace('_', '-')}",)
            names = tuple(part for decl in decls for part in decl.split("/"))
            yield Option(names, str(get_args(hints[name])[0]), param.default, info.help or "")


def all_options():
    return [
        (f"{program} {name} {option.names[0]}", option)
        for program in PROGRAMS
        for name, function in commands_of(program).items()
        for option in options_of(function)
    ]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_every_command_is_shown(program):
    for name in commands_of(program):
        for flag in ("--help", "-h"):
            shown = CliRunner().invoke(app_of(program), [*filter(None, [name]), flag])
            assert shown.exit_code == 0, name
            assert "Usage" in shown.output


def says_its_default(option):
    """A flag is off unless given; Typer shows a default value, and marks what is required."""
    flag = "bool" in option.kind
    return flag or option.default is not None or "(default: " in option.help


def test_help_of_every_option_states_its_default():
    options = all_options()
    assert [name for name, option in options if not option.help.strip()] == []
    assert [name for name, option in options if not says_its_default(option)] == []


QUANTITY = re.compile(
    r"timeout|budget|grace|wait|interval|idle|keepalive|seconds|minutes|hours|memory|size|bytes"
    r"|length|block$|tokens|steps"
)
UNIT = re.compile(
    r"\b(ms|milliseconds|seconds|minutes|hours|bytes|[kKMG]i?B|tokens|positions|steps|entries"
    r"|examples|records|lines|characters|pieces|turns)\b",
    re.IGNORECASE,
)


def test_help_of_times_and_sizes_names_the_unit():
    numbers = [
        (name, option) for name, option in all_options() if re.search("int|float", option.kind)
    ]
    sizes = [(name, option) for name, option in numbers if QUANTITY.search(option.names[0])]
    assert [name for name, option in sizes if not UNIT.search(option.help)] == []


# --- rules of the rooms ---


def run_python(code, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=100
    )


def test_common_is_ours_from_any_folder(tmp_path):
    done = run_python(
        "import goliath_server, david_client; from common import errors;"
        "from common.models import registry; print(registry.is_ours(), errors.__file__)",
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["True", str(ROOT / "common/errors.py")], done.stderr


@pytest.mark.parametrize("module", PROGRAMS.values())
def test_command_line_starts_without_the_heavy_libraries(module):
    heavy = ("torch", "transformers", "tokenizers", "numpy", "grpc")
    done = run_python(f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def unpickles(tree: ast.AST) -> Iterator[int]:
    """Lines that could run code hidden in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = [f"{node.value.id}.{node.attr}"]
        elif isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "trust_remote_code"}:
            off = isinstance(node.value, ast.Constant) and node.value.value is False
            named = [] if off else ["pickle"]
        else:
            continue
        if any(n in {"torch.load", "torch.save"} or n.split(".")[0] in UNPICKLERS for n in named):
            yield node.lineno if not isinstance(node, ast.keyword) else node.value.lineno


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "np.load('x', allow_pickle=True)",
        "load('x', trust_remote_code=flag)",
    ],
)
def test_unpickling_is_found(code):
    assert list(unpickles(ast.parse(code)))


def test_nothing_of_ours_unpickles():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources(*PACKAGES, "examples")
        for line in unpickles(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_folders_beside_the_packages_are_no_packages():
    # A regular package of that name elsewhere (google's `proto`) must win over our folder.
    rooms = ("proto", "tests", "examples", "scripts")
    assert [room for room in rooms if list((ROOT / room).rglob("__init__.py"))] == []


def test_generated_code_can_be_checked():
    done = subprocess.run(
        [ROOT / "scripts/gen_proto", "--unknown"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert "--check" in done.stderr


@pytest.mark.parametrize("script", ["setup", "test", "check", "gen_proto", "demo", "train_pair"])
def test_scripts_are_executable(script):
    assert os.access(ROOT / "scripts" / script, os.X_OK)
