"""What a launch gives is what was asked for, or it says so; and who takes what."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perser.distributed import _deal, gather_in_order, own_items, own_share_of_batch, processes
from perser.errors import UserError


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were launched"):
        processes()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(UserError, match="3 processes were launched here for 2 GPUs"):
        processes()


def test_an_accelerate_launch_that_starts_one_of_two_says_so(toy_corpus, toy_episodes_path, tmp_path):
    """On a CPU it starts one process whatever is asked for; nothing is trained."""
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2", "-m"]
    given = {"corpus": toy_corpus.folder, "episodes": toy_episodes_path, "out": tmp_path / "ssl-e"}
    done = subprocess.run(
        [
            sys.executable,
            *launch,
            "meta_perser.pretrain",
            *(f"--{name}={one}" for name, one in given.items()),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert "perser: error: accelerate launch was asked for several processes and started one" in done.stderr
    assert done.returncode != 0
    assert not (tmp_path / "ssl-e").exists()


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_three_processes_share_a_list_without_overlap(count, monkeypatch):
    items = list(range(count))
    parts, shares = [], []
    for index in range(3):
        state = SimpleNamespace(process_index=index, num_processes=3)
        monkeypatch.setattr("perser.distributed.processes", lambda state=state: state)
        parts.append(own_items(items))
        shares.append(own_share_of_batch(items, cost=lambda one: 0))
    assert sorted(item for part in parts for item in part) == items
    assert all(own for own, _ in shares), "a process without work would be waited for"
    assert [factor for _, factor in shares] == [3.0 if index < count else 0.0 for index in range(3)]
    assert sorted(item for own, factor in shares if factor for item in own) == items

    def all_gather(into, own):
        into[:] = parts

    monkeypatch.setattr("torch.distributed.all_gather_object", all_gather)
    assert gather_in_order(own_items(items)) == items


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(1, 5))
def test_shares_are_even_in_number_and_cost(costs, hands):
    dealt = _deal(costs, hands)
    assert sorted(place for own in dealt for place in own) == list(range(len(costs)))
    numbers = [len(own) for own in dealt]
    assert max(numbers) - min(numbers) <= 1
    sums = [sum(costs[place] for place in own) for own in dealt]
    assert max(sums) - min(sums) <= max(costs, default=0)


ENDING = """
import atexit
import torch
from perser.distributed import end_launched_process

class TellsWhenPythonEnds:
    def __del__(self):
        print("Python took itself apart", flush=True)

kept = TellsWhenPythonEnds()
atexit.register(lambda: print("exit functions ran"))
end_launched_process()
print("alone, it goes on")
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
end_launched_process()
print("not reached")
"""


def test_processes_that_work_together_end_before_python_takes_itself_apart():
    """Threads of gloo may still hold tensors, and letting go of one then aborts the process."""
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["alone, it goes on", "exit functions ran"])
