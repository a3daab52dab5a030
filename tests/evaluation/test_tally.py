import pytest

from nextgpt_chat.evaluation.tally import Tally, wilson_low


@pytest.mark.parametrize(
    ("correct", "n", "low"), [(81, 263, 0.2553), (0, 10, 0.0), (10, 10, 0.7225), (190, 200, 0.9104)]
)
def test_wilson_bound_has_its_published_values(correct, n, low):
    # 81 of 263: Newcombe 1998, table I; the others by the formula, by hand.
    assert wilson_low(correct, n) == pytest.approx(low, abs=5e-5)


def test_nothing_asked_is_nothing_shown():
    assert wilson_low(0, 0) == 0
    with pytest.raises(ValueError, match="3 of 2"):
        wilson_low(3, 2)


def test_rows_count_cases_distinct_values_and_take_their_ceiling():
    tally = Tally()
    for value in ("a", "b", "a", "a"):
        tally.add_attributes("picture", {"colour": "red", "size": "big"}, {"colour": "red"}, value)
    rows = tally.rows({"picture/colour": {"rate": 0.9}})
    assert rows["picture/colour"] == {
        "n": 4, "distinct": 2, "correct": 4, "rate": 1.0, "low95": round(wilson_low(4, 4), 4), "ceiling": 0.9,
    }  # fmt: skip
    assert rows["picture/size"]["correct"] == 0
    assert rows["picture/size"]["ceiling"] is None
