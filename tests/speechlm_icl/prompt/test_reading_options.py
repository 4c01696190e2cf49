import pytest

from perser.errors import UserError
from speechlm_icl.prompt.demonstrations import DemonstrationOptions, parse_options


def test_options_are_read_from_a_methods_name():
    assert parse_options([]) == DemonstrationOptions()
    found = parse_options(["calibrated", "orders=4", "chosen"])
    assert found == DemonstrationOptions(orders=4, calibrated=True, chosen=True)


@pytest.mark.parametrize(
    "wrong", [["orders"], ["order=4"], ["orders=x"], ["calibrated=1"], [""], ["chosen"] * 2]
)
def test_what_is_no_option_is_named(wrong):
    with pytest.raises(UserError, match=r"there are orders=N, calibrated, chosen"):
        parse_options(wrong)


def test_no_order_at_all_is_refused():
    with pytest.raises(UserError, match="orders must be at least 1"):
        parse_options(["orders=0"])
    with pytest.raises(ValueError, match="orders"):
        DemonstrationOptions(orders=0)
