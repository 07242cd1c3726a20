"""Networks without their random initial weights, for those whose weights are read from a file."""

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode


class NoInit(TorchFunctionMode):
    """While it is entered, ``torch.nn.init`` does nothing, which takes as long as reading a file otherwise.

    In this thread only; torch's generator of random numbers is not touched either.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return arguments[0] if arguments else named["tensor"]
        return function(*arguments, **named)
