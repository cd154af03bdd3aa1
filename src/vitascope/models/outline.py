"""A network in outline: its parameters have names and sizes, and no values yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class _Outline(TorchFunctionMode):
    """torch's own random draws and divisions on the device meta import sympy, which takes a second, and filling what has no
    values takes time as well; so neither is done."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func in (Tensor.div, Tensor.__truediv__):
            return args[0]
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def outlined() -> Iterator[None]:
    """Within it modules get their sizes and no values: nothing is allocated, drawn or filled. The device is meta."""
    with torch.device("meta"), _Outline():
        yield
