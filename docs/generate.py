"""Writes what the program knows of itself into the pages that repeat it: README.md, cli.md, reference/options.md.

python docs/generate.py
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from fractions import Fraction
from pathlib import Path

import typer

from kptalk import Control, Options, ReenactOptions, cli
from kptalk.options import RetargetOptions

ROOT = Path(__file__).resolve().parents[1]
CLI_HEAD = """# Command line

Written by `make docs` from the program's help; `kptalk COMMAND --help` prints the same.
"""
OPTIONS_HEAD = """# Options

Written by `make docs` from `kptalk/options.py`. `animate` and `stream` take the fields of `Options` and `Control` as
keywords, `kptalk.animate("face.jpg", "speech.m4a", seed=7, pose="still")`, or as `options=Options(...)`; `reenact`
takes those of `ReenactOptions` and `RetargetOptions`. Numbers may be text. A value out of bounds or of another type
raises `OptionError`.
"""


def commands() -> Iterator[tuple[str, object]]:
    """Every command and its name, such as ``kptalk motion extract``."""
    for name, command in typer.main.get_command(cli.app).commands.items():
        if hasattr(command, "commands"):
            yield f"kptalk {name}", command
            yield from ((f"kptalk {name} {inner}", leaf) for inner, leaf in command.commands.items())
        else:
            yield f"kptalk {name}", command


def rows(command: object) -> list[str]:
    """The arguments and options of a command as rows of a Markdown table with three columns."""
    table = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
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


def shown(default: object) -> str:
    """A default as one writes it."""
    return str(default) if isinstance(default, Fraction) else repr(default)


def readme(text: str) -> str:
    """README's text with the options of ``kptalk animate`` as they are now."""
    table = "\n".join(rows(dict(commands())["kptalk animate"]))
    head = r"(\| `kptalk animate` \| default \| \|\n\|---\|---\|---\|\n)(?:\|.*\n)*"
    return re.sub(head, lambda match: f"{match[1]}{table}\n", text)


def pages() -> dict[Path, str]:
    """Every page that is written here, and what it should hold."""
    text = (ROOT / "README.md").read_text()
    return {
        ROOT / "README.md": readme(text),
        ROOT / "docs/cli.md": cli_page(),
        ROOT / "docs/reference/options.md": option_page(),
    }


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
