from __future__ import annotations

import numpy as np
import pytest

from meta_perser.adaptation.step_schedule import multi_step_weights
from meta_perser.options import MultiStepOptions


def as_maml_plus_plus_has_it(steps, epochs, epoch):
    """`get_per_step_loss_importance_vector` of MAML++'s published code, line for line."""
    weights = np.ones(steps) / steps
    decay = 1.0 / steps / epochs
    smallest = 0.03 / steps
    for i in range(steps - 1):
        weights[i] = np.maximum(weights[i] - epoch * decay, smallest)
    weights[-1] = np.minimum(weights[-1] + epoch * (steps - 1) * decay, 1.0 - (steps - 1) * smallest)
    return weights


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("epochs", [1, 10, 100])
def test_the_schedule_is_that_of_maml_plus_plus(steps, epochs):
    options = MultiStepOptions(enabled=True, epochs=epochs)
    for epoch in range(epochs):
        found = multi_step_weights(options, steps, epoch)
        np.testing.assert_allclose(found, as_maml_plus_plus_has_it(steps, epochs, epoch), rtol=1e-12)
        assert sum(found) == pytest.approx(1)


def test_after_its_epochs_or_off_the_last_step_is_alone():
    options = MultiStepOptions(enabled=True, epochs=3)
    assert multi_step_weights(options, 4, 3) == (0, 0, 0, 1)
    assert multi_step_weights(MultiStepOptions(), 4, 0) == (0, 0, 0, 1)
