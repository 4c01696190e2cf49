"""What a personalized-SER task is, and the machinery that all routes share. This package knows no route.

    from perser import Recognizer, PersonalRecognizer

Both are loaded on first use, so that `import perser` does not wait for torch.
"""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perser.inference.recognizer import PersonalRecognizer, Recognizer

NEEDLESS_MESSAGES = {
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
}
"""Beginnings of warnings of bitsandbytes, by its logger: one that it repeats for every layer of a model in 8
bits, and one about a faster kernel that it prints when it is imported, whether 4 bits are used or not."""


def _begins_otherwise(beginning: str, record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(beginning)


for _logger, _beginning in NEEDLESS_MESSAGES.items():
    logging.getLogger(_logger).addFilter(partial(_begins_otherwise, _beginning))

__all__ = ["PersonalRecognizer", "Recognizer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("perser.inference.recognizer"), name)
    raise AttributeError(f"module 'perser' has no attribute '{name}'")
