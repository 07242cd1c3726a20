"""What the value of an option may be: checked, brought to the option's own type, and shown."""

import math
import re
from dataclasses import MISSING, Field, field, fields
from fractions import Fraction
from numbers import Real
from typing import Any

from kptalk.errors import OptionError
from kptalk.limits import MAX_DENOMINATOR, MAX_FPS, MIN_FPS

FPS_RANGE = MIN_FPS, MAX_FPS
FPS_TEXT = re.compile(r"\s*\d{1,20}(\.\d{0,20}|/\d{1,20})?\s*")  # no exponent: 1e999999999 would fill the memory
LONGEST_SHOWN = 80  # characters of a wrong value in a message


def option(
    default: Any,
    help: str,
    *,
    bounds: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    group: str = "Motion",
) -> Any:
    """A field of a dataclass of options: its default, its help text, what values it takes beside the default.

    ``group`` is where the command line's help shows it.
    """
    return field(default=default, metadata={"help": help, "bounds": bounds, "choices": choices, "group": group})


class Validated:
    """Checks every field against its metadata and type, and brings it to that type; shows what is not as by default."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, each.name)
            if not (value is None and each.default is None):
                object.__setattr__(self, each.name, _checked(each, value))

    def __repr__(self) -> str:
        changed = []
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if value != (each.default if each.default_factory is MISSING else each.default_factory()):
                changed.append(f"{each.name}={str(value) if isinstance(value, Fraction) else value!r}")
        return f"{type(self).__name__}({', '.join(changed)})"


def _checked(each: Field[Any], value: Any) -> Any:
    """A field's value in the field's own type; raises OptionError where it is none."""
    bounds, choices = each.metadata.get("bounds"), each.metadata.get("choices")
    kind = str(each.type).partition(" ")[0]  # as written: of "int | None" it is "int"
    found: Any = None
    if choices:
        expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
        if isinstance(value, str) and value in choices:
            found = value
    elif kind == "bool":
        expected = "True or False"
        if type(value).__name__ in ("bool", "bool_"):  # NumPy's too, which nothing here waits for
            found = bool(value)
    elif kind == "Fraction":
        return _rate(each.name, value)
    elif bounds:
        low, high = bounds
        expected = f"{'a whole number' if kind == 'int' else 'a number'} from {low} to {high}"
        number = _number(value, whole=kind == "int")
        if number is not None and low <= number <= high:
            found = number
    elif isinstance(each.default_factory, type):
        expected = f"a {each.default_factory.__name__}"
        if isinstance(value, each.default_factory):
            found = value
    else:
        return value
    if found is None:
        raise OptionError(f"{each.name} is {shown(value)}: give {expected}")
    return found


def _number(value: Any, whole: bool) -> int | float | None:
    """A finite number from a number or text; None where it is none. Those of NumPy would be none for JSON."""
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return None
    try:
        number = int(value) if whole else float(value)  # type: ignore[arg-type]  # of NumPy's and other real numbers
        exact = not whole or isinstance(value, str) or number == value
        return number if exact and math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None


def _rate(name: str, value: object) -> Fraction:
    rate = parse_fps(value, name)
    if not MIN_FPS <= rate <= MAX_FPS:
        raise OptionError(f"{name} is {shown(value)}: give {MIN_FPS} to {MAX_FPS}")
    return rate.limit_denominator(MAX_DENOMINATOR)


def parse_fps(value: object, name: str = "fps") -> Fraction:
    """A frame rate as users write it: a number or text such as 25, 29.97 (which means 30000/1001) or 30000/1001.

    Raises:
        OptionError: it is no number.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, Real | str) or not FPS_TEXT.fullmatch(str(value)):
            raise ValueError
        rate = Fraction(value if isinstance(value, str | Fraction) else str(value))
    except (ValueError, ZeroDivisionError):
        expected = f"{MIN_FPS} to {MAX_FPS}, such as 25, 29.97 or 30000/1001"
        raise OptionError(f"{name} is {shown(value)}: give {expected}") from None
    broadcast = round(rate * Fraction(1001, 1000))
    ntsc = Fraction(broadcast * 1000, 1001)
    return ntsc if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 100) else rate


def shown(value: object) -> str:
    """A value on one short line; whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of thousands of digits, an object of the user's
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
