from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.node_costs import BEGIN, END, MOST, least_step, node_costs, reduce_seconds

PAGE = Path(__file__).parents[3] / "docs" / "scaling.md"


def test_the_page_has_the_tables_of_now(tmp_path):
    page = tmp_path / "scaling.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    node_costs(page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    table = text.partition(BEGIN)[2].partition(END)[0]
    again = "python -m benchmarks.speed.node_costs --page docs/scaling.md"
    assert table in PAGE.read_text(encoding="utf-8"), again
    assert "| `pretrain` | all of wav2vec2-base | 361 |" in table


@pytest.mark.parametrize("gpus", [2, 8, 16])
def test_a_ring_sends_all_but_one_share_twice(gpus):
    """Reduce-scatter and all-gather: gpus - 1 turns each, in which everybody sends a share."""
    turns = 2 * (gpus - 1)
    assert reduce_seconds(10**9, gpus, 1e9) == pytest.approx(turns / gpus)


def test_the_least_step_spends_its_share_on_reducing():
    step, reducing = least_step(10**9, 8, 1e9) / 8, reduce_seconds(10**9, 8, 1e9)
    assert reducing / (step + reducing) == pytest.approx(MOST)
