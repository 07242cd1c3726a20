"""The pages that repeat the program say what it says, and the site builds without a warning."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from yaml import safe_load

import kptalk

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATE = runpy.run_path(str(DOCS / "generate.py"))
ARCHITECTURE = (DOCS / "architecture.md").read_text()


@pytest.mark.parametrize("path", GENERATE["pages"](), ids=lambda path: path.name)
def test_pages_made_from_the_program_are_current(path):
    assert path.read_text() == GENERATE["pages"]()[path], "run 'make docs'"


def test_every_command_and_option_is_in_the_page():
    page = GENERATE["cli_page"]()
    commands = dict(GENERATE["commands"]())
    assert {"kptalk animate", "kptalk motion extract", "kptalk weights pull"} <= set(commands)
    for name, command in commands.items():
        section = page.split(f"## {name}\n")[1].split("\n## ")[0]
        flags = {flag for parameter in command.params for flag in getattr(parameter, "opts", []) if flag[0] == "-"}
        assert flags - {"--help"} == set(re.findall(r"`(--?[a-z-]+)`", section)) - secondary(command), name


def secondary(command):
    return {flag for parameter in command.params for flag in parameter.secondary_opts}


def test_a_default_of_nought_is_shown():
    assert "| `--yaw` | 0.0 | Degrees" in GENERATE["cli_page"]()


def test_readme_keeps_what_is_not_the_table():
    text = "before\n| `kptalk animate` | default | |\n|---|---|---|\n| old | | |\n\nafter\n"
    table = GENERATE["readme"](text)
    assert table.startswith("before\n| `kptalk animate` | default | |\n|---|---|---|\n| `PORTRAIT` | required |")
    assert table.endswith("|\n\nafter\n")
    assert "| old |" not in table


def test_every_message_is_explained():
    stubs = GENERATE["stubs"]()
    assert not stubs, f"add to docs/errors.toml, and fill in:\n\n{stubs}"


def test_every_explanation_has_a_message():
    said = {message.text for message in GENERATE["messages"]()}
    explained = GENERATE["explained"]()
    assert [text for text in explained if text not in said] == [], "no longer said: remove them from docs/errors.toml"
    assert [text for text, entry in explained.items() if not (entry["cause"] and entry["remedy"])] == []


def test_messages_are_found_in_raises_returns_and_variables():
    found = {message.text: message.kind for message in GENERATE["messages"]()}
    assert found["… exists already: give another name, or allow overwriting"] == "OutputError"
    assert found["… is a folder, not …"] == "KptalkError"  # raised as the class that the caller gives
    assert found["… is gated: accept its terms on its page and run `hf auth login`, …"] == "WeightsError"
    assert found["… faces found, using the largest (number … from the left)"] == "warning"


def source_paths(text):
    """What a page names in backticks that looks like a file or folder of the package or the repository."""
    return {name for name in re.findall(r"`([\w/.-]+)`", text) if re.search(r"/$|\.(py|csv|json|jinja)$", name)}


def test_every_path_in_architecture_exists():
    files = [path.relative_to(ROOT / "src/kptalk") for path in (ROOT / "src/kptalk").rglob("*")]
    for name in source_paths(ARCHITECTURE) - {"model.json"}:
        named = Path(name)
        here = (ROOT / name).exists() or any(path.parts[-len(named.parts) :] == named.parts for path in files)
        assert here, f"docs/architecture.md names {name}"


def test_architecture_names_every_folder():
    folders = {f"`{path.name}/`" for path in (ROOT / "src/kptalk").iterdir() if (path / "__init__.py").is_file()}
    assert {name for name in folders if name not in ARCHITECTURE} == set()


def test_every_contract_in_architecture_is_where_it_says():
    table = re.findall(r"^\| (`.*?) \| `([\w/]+\.py)` \|", ARCHITECTURE, re.MULTILINE)
    assert len(table) > 8
    for names, path in table:
        code = (ROOT / "src/kptalk" / path).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^class {name}\b", code, re.MULTILINE), f"{name} is not in {path}"


def test_every_public_name_is_in_the_reference():
    reference = (DOCS / "reference/api.md").read_text()
    for name in set(kptalk.__all__) - {"__version__", "errors"}:
        assert re.search(rf"^::: kptalk\.[\w.]+\.{name}$", reference, re.MULTILINE), name


def test_navigation_has_every_page():
    listed = {page for entry in safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in pages_of(entry)}
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def pages_of(entry):
    return [entry] if isinstance(entry, str) else list(entry.values())


def test_the_site_builds_without_a_warning(tmp_path):
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(argv, cwd=ROOT, env={"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Let a portrait speak" in (tmp_path / "site/reference/api/index.html").read_text()
    assert not re.search(r'(?:src|href)="https?://fonts', (tmp_path / "site/index.html").read_text())


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/architecture.md"]
)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text()):
        assert "://" in target or ((ROOT / name).parent / target).exists(), target
