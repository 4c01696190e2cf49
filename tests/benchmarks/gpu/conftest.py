"""Settings of a run on a CPU, and those of one on a GPU that is not there."""

import pytest

from benchmarks.gpu.findings import Settings


@pytest.fixture
def on_cpu(tmp_path) -> Settings:
    return Settings("cpu", quick=True, folder=tmp_path)


@pytest.fixture
def on_gpu(tmp_path) -> Settings:
    return Settings("cuda", quick=False, folder=tmp_path)
