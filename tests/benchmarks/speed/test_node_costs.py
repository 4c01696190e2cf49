from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed.node_costs import (
    BEGIN,
    END,
    MOST,
    cost_of_nodes,
    least_step,
    node_costs,
    reduce_seconds,
)
from perser.errors import UserError

PAGE = Path(__file__).parents[3] / "docs" / "scaling.md"


def test_the_page_has_the_tables_that_the_script_writes(tmp_path):
    page = tmp_path / "scaling.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    node_costs(page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    table = text.partition(BEGIN)[2].partition(END)[0]
    update = "run python -m benchmarks.speed.node_costs --page docs/scaling.md"
    assert table in PAGE.read_text(encoding="utf-8"), update
    assert "| `pretrain` | all of wav2vec2-base | 361 |" in table


@pytest.mark.parametrize("gpus", [2, 8, 16])
def test_a_ring_sends_all_but_one_share_twice(gpus):
    """Reduce-scatter and all-gather take gpus - 1 rounds each, and in each round every GPU sends a share."""
    rounds = 2 * (gpus - 1)
    assert reduce_seconds(10**9, gpus, 1e9) == pytest.approx(rounds / gpus)


def test_measured_steps_give_a_cost_for_each_number_of_nodes(tmp_path):
    """A step takes 8 s and reduces 1 GB: on 2 nodes 4 s and 1 GB over the wire, on 4 nodes 2 s and 1.5 GB. It
    has four items, so that more nodes gain nothing."""
    file = tmp_path / "scaling.json"
    training = {"items_per_step": 4, "seconds": {"one": 8.0, "two": 5.0}, "reduced_bytes": 10**9}
    file.write_text(json.dumps({"trainings": {"meta-train": training}}))
    *_, fast, slow = cost_of_nodes(file).splitlines()
    costs = "8 s, 8 | 4.8 s, 9.6 | 3.2 s, 12.8 | 3.4 s, 27.2 |"
    assert fast.startswith(f"| `meta-train` | 4 | 1e+03 | Ethernet, 1.25 GB/s | {costs}")
    assert slow.startswith("| `meta-train` | 4 | 1e+03 | Ethernet, 0.125 GB/s | 8 s, 8 | 12 s, 24 |")


def test_a_file_that_scaling_did_not_write_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"^measured: .*other\.json was not written by .*speed\.scaling"):
        node_costs(measured=tmp_path / "other.json")


def test_the_shortest_step_spends_the_largest_share_on_reducing():
    step, reducing = least_step(10**9, 8, 1e9) / 8, reduce_seconds(10**9, 8, 1e9)
    assert reducing / (step + reducing) == pytest.approx(MOST)
