"""Networks need torch, other networks and the standard library alone."""

import ast
import sys
from pathlib import Path

import kptalk.networks

ALLOWED = {"torch", *sys.stdlib_module_names}


def modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_networks_import_torch_alone():
    offenders = [
        f"{path.name}: {module}"
        for path in Path(kptalk.networks.__file__).parent.glob("*.py")
        for module in modules(ast.parse(path.read_text()))
        if module.partition(".")[0] not in ALLOWED and not module.startswith("kptalk.networks.")
    ]
    assert offenders == []
