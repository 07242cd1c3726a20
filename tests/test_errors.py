"""The tree of errors is the one drawn at the top of its page."""

import inspect
import re

from kptalk import errors

CLASSES = dict(inspect.getmembers(errors, inspect.isclass))


def test_the_drawing_shows_every_error_at_its_place():
    drawn, path = {}, ["KptalkError"]
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+)", line)
        if found and found[2] in CLASSES:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else None
    real = {name: kind.__base__.__name__ if kind.__base__ is not Exception else None for name, kind in CLASSES.items()}
    assert drawn == real


def test_every_error_is_a_kptalk_error_with_a_docstring():
    assert [name for name, kind in CLASSES.items() if not (issubclass(kind, errors.KptalkError) and kind.__doc__)] == []
