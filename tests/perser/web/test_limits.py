from __future__ import annotations

import pytest

from perser.web.limits import Limits


@pytest.mark.parametrize("name", ["seconds", "megabytes", "examples"])
def test_a_limit_must_be_positive(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
