"""How many threads the linear algebra of NumPy and SciPy uses.

It has threads of its own beside torch's, as many as there are cores, and `torch.set_num_threads` does not
change that. They wait for each other in a busy loop: choosing the strengths of recalibration took 15 s of two
cores where other programs were busy, and 1 s of one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


def limit_blas_threads(threads: int) -> None:
    """Let linear algebra use at most so many threads in this process from now on."""
    _linear_algebra().limit(limits=threads)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let linear algebra use one thread in this block, for problems that are too small to share."""
    with _linear_algebra().limit(limits=1):
        yield


@cache
def _linear_algebra() -> ThreadpoolController:
    """Return what controls the libraries of linear algebra, which have to be loaded for that.

    SciPy has one of its own.
    """
    import scipy.linalg  # noqa: F401

    return ThreadpoolController().select(user_api="blas")
