"""Writes what the program knows of itself into the pages that repeat it: README.md, cli.md, errors.md, options.md,
configs.md.

python docs/generate.py
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import typer

from kptalk import Control, Options, ReenactOptions
from kptalk.cli.app import app
from kptalk.errors import KptalkError
from kptalk.options import RetargetOptions
from kptalk.train.config import RecipeConfig, config_fields, field_docs
from kptalk.train.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[1]
CLI_HEAD = """# Command line

Written by `make docs` from the program's help; `kptalk COMMAND --help` prints the same. `kptalk --install-completion`
lets bash, zsh, fish or PowerShell complete commands, options and their values; `kptalk --show-completion` prints the
script. What each message means is on the page [Messages](errors.md).

A result goes to stdout, progress, warnings and errors to stderr. Exit codes: 0 done, 2 what was given cannot be used,
1 another error, 130 stopped by Ctrl-C, 143 by SIGTERM, 141 the reader of the output is gone. A video that was stopped
plays as far as it had come; the last line names its file.
"""
OPTIONS_HEAD = """# Options

Written by `make docs` from `kptalk/options.py`. `animate` and `stream` take the fields of `Options` and `Control` as
keywords, `kptalk.animate("face.jpg", "speech.m4a", seed=7, pose="still")`, or as `options=Options(...)`; `reenact`
takes those of `ReenactOptions` and `RetargetOptions`. Numbers may be text. A value out of bounds or of another type
raises `OptionError`.
"""
ERRORS_HEAD = """# Messages

Every error and warning of kptalk, with its cause and what to do. A "…" stands for what differs: a name, a number. The
program prints an error as one line, `kptalk: error: ...`, and ends with exit code 2 where what it was given cannot be
used, 1 for all else, 130 after Ctrl-C and 143 after SIGTERM; a warning begins `kptalk: warning:` and the work goes on.
From Python errors are the exceptions named here, all of them `kptalk.errors.KptalkError`, and warnings are Python's.

Written by `make docs` from the source and `docs/errors.toml`.
"""
CONFIGS_HEAD = """# Training configs

Written by `make docs` from `kptalk/train`. `kptalk train NAME --config smoke|embedded|paper|FILE.toml` chooses one;
`--set FIELD=VALUE` changes a field of it. A file names what it changes, and may name its base:

```toml
base = "embedded"

[loop]
steps = 10000
learning_rate = 3e-4

[network]
depth = 6
```

`NAME.log/config.toml` in the model folder holds what a training was run with, and is such a file. `facemesh` and `head`
are fitted in closed form, without a config.
"""
SOURCE = ROOT / "src/kptalk"
AREAS = {  # heading, by the folder or file that the message comes from
    "Options": ("options.py", "device.py", "cli"),
    "Portrait and face": ("media/image.py", "face", "pipeline.py"),
    "Speech and videos": ("media", "audio", "motion/video.py"),
    "Files": ("files.py",),
    "Motion files": ("types.py", "motion"),
    "Models and weights": ("weights", "methods", "render"),
    "Batches": ("batch",),
    "Training": ("train",),
    "Evaluation": ("evaluate",),
    "Studies": ("evaluate/study",),
    "Where videos come from": ("provenance", "cli/credentials.py"),
    "Python": ("",),  # all else
}


def commands() -> Iterator[tuple[str, object]]:
    """Every command and its name, such as ``kptalk motion extract``."""
    for name, command in typer.main.get_command(app).commands.items():
        if hasattr(command, "commands"):
            yield f"kptalk {name}", command
            yield from ((f"kptalk {name} {inner}", leaf) for inner, leaf in command.commands.items())
        else:
            yield f"kptalk {name}", command


def rows(command: object) -> list[str]:
    """The arguments and options of a command as rows of a Markdown table with three columns, in the help's groups."""
    table, group = [], None
    for parameter in command.get_params(typer.Context(command)):
        if parameter.name == "help":
            continue
        if parameter.rich_help_panel != group:
            group = parameter.rich_help_panel
            table.append(f"| **{group}** | | |")
        default = parameter.default
        if parameter.param_type_name == "argument":
            flags, default = f"`{parameter.metavar}`", None
        else:
            flags = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
        shown = "required" if parameter.required else "" if default is None or default is False else default
        table.append(f"| {flags} | {shown} | {parameter.help.replace('|', chr(92) + '|')} |")
    return table


def cli_page() -> str:
    """The whole of docs/cli.md."""
    parts = [CLI_HEAD]
    for name, command in commands():
        parts.append(f"## {name}\n\n{' '.join(command.help.split())}\n")
        if table := rows(command):
            parts.append("\n".join(["| | default | |", "|---|---|---|", *table]) + "\n")
    return "\n".join(parts)


def option_page() -> str:
    """The whole of docs/reference/options.md."""
    parts = [OPTIONS_HEAD]
    for kind in (Options, Control, ReenactOptions, RetargetOptions):
        parts.append(f"## {kind.__name__}\n\n| option | default | values | |\n|---|---|---|---|")
        for each in fields(kind):
            if each.default is MISSING:
                parts.append(f"| `{each.name}` | `{each.default_factory.__name__}()` | | See below. |")
                continue
            bounds, choices = each.metadata["bounds"], each.metadata["choices"]
            values = "{} to {}".format(*bounds) if bounds else ", ".join(f"`{choice}`" for choice in choices or ())
            parts.append(f"| `{each.name}` | `{shown(each.default)}` | {values} | {each.metadata['help']} |")
        parts.append("")
    return "\n".join(parts)


def config_page() -> str:
    """The whole of docs/reference/configs.md."""
    parts, seen = [CONFIGS_HEAD], dict[str, list[str]]()
    for recipe in RECIPES.values():
        if recipe.configs:
            seen.setdefault("\n".join(config_rows(recipe.configs)), []).append(recipe.name)
    for table, names in seen.items():
        parts.append(f"## {', '.join(names)}\n\n{table}\n")
    return "\n".join(parts)


def config_rows(configs: Mapping[str, RecipeConfig]) -> Iterator[str]:
    """A recipe's configs as a table: every field, what it means, and its value in each."""
    yield f"| field | | {' | '.join(f'`{name}`' for name in configs)} |"
    yield "|---|---|" + "---|" * len(configs)
    values = {name: dict(config_fields(config)) for name, config in configs.items()}
    for field in dict.fromkeys(key for fields_of in values.values() for key in fields_of):
        part, _, key = field.rpartition(".")
        owner = next(config for name, config in configs.items() if field in values[name])
        about = field_docs(type(getattr(owner, part) if part else owner))[key].replace("``", "`")
        given = [shown(values[name][field]) if field in values[name] else "" for name in configs]
        yield f"| `{field}` | {about} | {' | '.join(given)} |"


def shown(default: object) -> str:
    """A default as one writes it."""
    return str(default) if isinstance(default, Fraction) else repr(default)


def readme(text: str) -> str:
    """README's text with the options of ``kptalk animate`` as they are now."""
    table = "\n".join(rows(dict(commands())["kptalk animate"]))
    head = r"(\| `kptalk animate` \| default \| \|\n\|---\|---\|---\|\n)(?:\|.*\n)*"
    return re.sub(head, lambda match: f"{match[1]}{table}\n", text)


class Message(NamedTuple):
    """A text that the source can say: with … for its values, the exception's class or "warning", and the file."""

    text: str
    kind: str
    path: str


def messages() -> list[Message]:
    """All errors and warnings in the source, in its order."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        for scope in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and (kind := kind_of(node)):
                    for text in templates(node.args[-1] if kind == "warning" else node.args[0], scope):
                        if re.search(r"[a-z]{2}", text):
                            here = Message(text, kind, name)
                            found[text] = min(found.get(text, here), here, key=lambda each: area(each.path)[0])
    return list(found.values())


def kind_of(call: ast.Call) -> str | None:
    """The error that a call makes, or "warning"; None for other calls."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    known = {kind.__name__ for kind in (KptalkError, *subclasses(KptalkError))}
    if not call.args:
        return None
    if name == "warn" or (name == "say" and isinstance(call.args[0], ast.Constant) and call.args[0].value == "warning"):
        return "warning"
    return name if name in known else "KptalkError" if name == "error" else None


def subclasses(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def templates(node: ast.expr, scope: ast.FunctionDef) -> Iterator[str]:
    """The texts that an expression can be, as far as they are written in the function."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.Name):
        for each in ast.walk(scope):
            if isinstance(each, ast.Assign) and any(getattr(target, "id", "") == node.id for target in each.targets):
                yield from templates(each.value, scope)


def explained() -> dict[str, dict[str, str]]:
    """Cause and remedy of every message, from docs/errors.toml."""
    return tomllib.loads((ROOT / "docs/errors.toml").read_text())


def area(path: str) -> tuple[int, str]:
    """Number and heading for messages of a file: that with the longest name of it or of a folder above it."""
    areas = enumerate(AREAS.items())
    fitting = [(len(start), k, name) for k, (name, starts) in areas for start in starts if path.startswith(start)]
    return max(fitting)[1:]


def stubs() -> str:
    """What docs/errors.toml lacks, to be filled in."""
    known = explained()
    lacking = [message for message in messages() if message.text not in known]
    return "\n".join(f'[{toml(message.text)}]  # {message.path}\ncause = ""\nremedy = ""\n' for message in lacking)


def toml(text: str) -> str:
    """A text as a key."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def error_page() -> str:
    """The whole of docs/errors.md."""
    known, parts = explained(), [ERRORS_HEAD]
    by_area: dict[str, list[Message]] = {name: [] for name in AREAS}
    for message in messages():
        by_area[area(message.path)[1]].append(message)
    for name, those in by_area.items():
        if not those:
            continue
        parts.append(f"## {name}\n")
        for message in sorted(those, key=lambda each: each.text.lstrip("… ").lower()):
            entry = known.get(message.text, {"cause": "", "remedy": ""})
            parts.append(f"### `{message.text}`\n\n*{message.kind}.* {entry['cause']} {entry['remedy']}\n")
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Every page that is written here, and what it should hold."""
    text = (ROOT / "README.md").read_text()
    return {
        ROOT / "README.md": readme(text),
        ROOT / "docs/cli.md": cli_page(),
        ROOT / "docs/errors.md": error_page(),
        ROOT / "docs/reference/options.md": option_page(),
        ROOT / "docs/reference/configs.md": config_page(),
    }


if __name__ == "__main__":
    if lacking := stubs():
        sys.exit(f"add to docs/errors.toml, and fill in:\n\n{lacking}")
    for path, content in pages().items():
        path.write_text(content)
