"""What a terminal shows of a diagnosis."""

import re

import pytest
from made_diagnoses import EVERY, diagnosis, printed


@pytest.mark.parametrize("make", EVERY)
def test_the_terminal_is_eighty_columns_wide(make):
    text = printed(make())
    assert max(map(len, text.splitlines())) <= 80
    narrow = printed(make(), 40)
    assert max(map(len, narrow.splitlines())) <= 40


def test_the_terminal_reads_like_a_linter():
    lines = printed(diagnosis()).splitlines()
    assert lines[0] == "These data will not be learned in 20 epochs: it would take 597,894."
    heads = [line for line in lines if re.match(r"[a-z-]+  (cause|consequence|note)", line)]
    assert [line.split()[0] for line in heads] == ["mean-dominated", "slow-directions", "rounding"]
    assert "slow-directions  consequence of mean-dominated  83 of 85" in heads[1]
    text = printed(diagnosis())
    assert "    condition number" in text
    assert "    fix: standardise the inputs: --normalize feature" in text
    assert "    more: idjax explain rounding" in text
    (first,) = [line for line in lines if line.strip().startswith("1 ")]
    assert first.split()[-3:] == ["1.04", "1.1", "1.0000"] or first.split()[-1] == "0.9999"
