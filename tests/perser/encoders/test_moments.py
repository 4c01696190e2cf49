"""Features with the same mean and deviation in each group of clips."""

from __future__ import annotations

import numpy as np
import torch

from perser.encoders.feature_cache import FeatureStore
from perser.encoders.moments import StandardizedByGroup

RNG = np.random.default_rng(0)
LOUD = {f"a{i}": (3 + 5 * RNG.standard_normal((2, 4))).astype(np.float32) for i in range(300)}
SOFT = {f"b{i}": (-1 + 0.1 * RNG.standard_normal((2, 4))).astype(np.float32) for i in range(200)}
GROUPS = {"loud": list(LOUD), "soft": list(SOFT)}
MEMBERS = {name: group for group, names in GROUPS.items() for name in names}


def test_every_group_gets_the_mean_of_the_groups_moments():
    plain = FeatureStore.of("pooled", LOUD | SOFT)
    store = StandardizedByGroup(plain, GROUPS, MEMBERS)
    own = {group: torch.stack([plain[name] for name in names]).double() for group, names in GROUPS.items()}
    mean = (own["loud"].mean(dim=0) + own["soft"].mean(dim=0)) / 2
    spread = (own["loud"].std(dim=0, correction=0) + own["soft"].std(dim=0, correction=0)) / 2
    for group, names in GROUPS.items():
        found = store.stack(names).double()
        torch.testing.assert_close(found.mean(dim=0), mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.std(dim=0, correction=0), spread, rtol=1e-4, atol=1e-4)
        standard = (own[group] - own[group].mean(dim=0)) / own[group].std(dim=0, correction=0)
        torch.testing.assert_close((found - mean) / spread, standard, rtol=1e-3, atol=1e-3)


def test_the_moments_of_a_group_are_those_of_the_clips_that_are_named():
    plain = FeatureStore.of("pooled", LOUD | SOFT)
    few = {"loud": list(LOUD)[:50], "soft": list(SOFT)}
    found = StandardizedByGroup(plain, few, MEMBERS).stack(few["loud"])
    whole = StandardizedByGroup(plain, few, MEMBERS).stack(list(SOFT))
    torch.testing.assert_close(found.mean(dim=0), whole.mean(dim=0), rtol=1e-4, atol=1e-4)


def test_it_is_a_store_like_the_one_that_it_changes():
    plain = FeatureStore.of("windows:5", {name: rows[None].repeat(3, 0) for name, rows in LOUD.items()})
    store = StandardizedByGroup(plain, {"loud": list(LOUD)}, MEMBERS)
    assert (store.level, len(store), store.num_rows("a0"), "a0" in store, "c" in store) == (
        "windows:5",
        300,
        3,
        True,
        False,
    )
    torch.testing.assert_close(store["a0"], plain["a0"], rtol=1e-5, atol=1e-5)
