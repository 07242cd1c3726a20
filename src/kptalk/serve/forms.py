"""The options of a video as form fields, made of ``kptalk.options``, where they are documented and bounded."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal

from fastapi import Form

from kptalk.options import NO_MOTION, STYLES, Control, Options

WORDS = {"pose": NO_MOTION, "style": STYLES}  # no client names a file of the server
KINDS: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "Fraction": str}


def given_options(**values: Any) -> Options:
    """The options of a request; raises OptionError where a value makes no sense."""
    return Options.from_dict({name: value for name, value in values.items() if value is not None})


def _parameter(option: Field[Any]) -> inspect.Parameter:
    choices, bounds = WORDS.get(option.name) or option.metadata["choices"], option.metadata["bounds"]
    kind: Any = Literal[choices] if choices else KINDS[str(option.type).partition(" ")[0]]
    limits = dict(zip(("ge", "le"), bounds, strict=True)) if bounds and kind in (int, float) else {}
    default = None if option.default is MISSING else option.default
    extra = {"default": default} if isinstance(default, int | float | str) else {}
    form = Form(description=option.metadata["help"], json_schema_extra=extra, **limits)
    annotation = Annotated[kind | None, form]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


OPTIONS = [each for each in (*fields(Options), *fields(Control)) if each.metadata]
NAMES = frozenset(each.name for each in OPTIONS)
given_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what FastAPI reads
    [_parameter(each) for each in OPTIONS], return_annotation=Options
)
