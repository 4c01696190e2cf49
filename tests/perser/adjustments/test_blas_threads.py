"""Linear algebra keeps to the threads that it is given."""

from __future__ import annotations

import subprocess
import sys

import scipy.linalg  # noqa: F401 (it loads the libraries that are limited)
from threadpoolctl import threadpool_info, threadpool_limits

from perser.adjustments.blas_threads import one_blas_thread

LIMITED = """
from threadpoolctl import threadpool_info
from perser.adjustments.blas_threads import limit_blas_threads
limit_blas_threads(1)
pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
assert pools
print({pool["num_threads"] for pool in pools})
"""


def used() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_a_block_uses_one_thread_and_leaves_the_number_as_it_was():
    with threadpool_limits(2, user_api="blas"):
        assert set(used()) == {2}
        with one_blas_thread():
            assert set(used()) == {1}
        assert set(used()) == {2}


def test_a_limit_reaches_all_libraries_even_where_none_was_loaded():
    """In a process of its own, because the limit stays."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"
