"""What a personalized-SER task is, and the machinery that all routes share. This package knows no route.

    from perser import Recognizer, PersonalRecognizer

Both are loaded on first use, so that `import perser` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perser.inference.recognizer import PersonalRecognizer, Recognizer

__all__ = ["PersonalRecognizer", "Recognizer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("perser.inference.recognizer"), name)
    raise AttributeError(f"module 'perser' has no attribute '{name}'")
