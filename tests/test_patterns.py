"""Regular expressions of matchers: as Python's on whole values, and in linear time."""

import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.patterns import Pattern

PATTERNS = [
    "", "a", "a|b", "frontend|checkout", ".*", ".+", "front.*", "(a|b)+c?", "[a-c]{2,3}", "[^a]x", "a{2}", "a{2,}",
    r"\d+\.\d", r"[\d-]+", "^a$", "^a$|^b$", "(?:ab)*", "a*?b", "[]a]", "x(^a)", r"\w+\s\W", "(a|)b", "a{0,2}b",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@given(value=st.text("abcx123.- ]frontedchku", max_size=8))
def test_a_pattern_means_the_same_whole_values_as_in_python(pattern: str, value: str) -> None:
    expected = re.fullmatch(pattern, value, re.DOTALL) is not None
    assert Pattern(pattern).matches(value) is expected


@given(st.text("ab(|)*+?{}[]^$.1,\\-d", max_size=12), st.text("ab1", max_size=6))
def test_any_text_is_a_pattern_or_a_refusal(pattern: str, value: str) -> None:
    try:
        found = Pattern(pattern).matches(value)
    except ValueError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Python's plans for [[ and &&
        assert found is (re.fullmatch(pattern, value, re.DOTALL) is not None)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "(a?){100}a{100}", "(.*a){200}"])
def test_no_pattern_burns_the_processor(pattern: str) -> None:
    began = time.process_time()
    compiled = Pattern(pattern)
    for n in range(20):
        try:
            compiled.matches("a" * (180 + n) + "!")
        except ValueError:
            break
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "*a", "a**", "[a", "[b-a]", "a{2,1}", "a{1001}", "(?i)a", r"\q", "a" * 20_001,
     "(" * 100 + ")" * 100, "((a{100}){100}){100}", "[[:alpha:]]", "a{,3}", "\\"],
)  # fmt: skip
def test_what_is_not_understood_or_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Pattern(pattern)


def test_a_thousand_names_in_one_pattern_are_matched_at_once() -> None:
    names = [f"workload-{n}" for n in range(1000)]
    pattern = Pattern("|".join(names))
    began = time.process_time()
    assert all(pattern.matches(name) for name in names)
    assert not pattern.matches("workload-1000")
    assert time.process_time() - began < 2.0
