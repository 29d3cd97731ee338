"""Distributed hyperparameter search for variational autoencoders of symbolic music."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurl.reporting.loading import load as load


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """``aurl.load``, imported when it is asked for: it brings torch with it."""
    if name == "load":
        from aurl.reporting.loading import load

        return load
    raise AttributeError(f"module 'aurl' has no attribute {name!r}")
