"""Calls that must fail, as text: check the exception, the message, and that nothing changes."""

import numpy as np
import pytest

import crnn
from crnn import losses, optim
from support.comparing import assert_same_bits
from support.running import copied

NAMES = {"np": np, "z": np.zeros, "crnn": crnn, "losses": losses, "optim": optim}
EXCEPTIONS = {one.__name__: one for one in (TypeError, ValueError, AttributeError)}


def rows_of(table):
    """Return (call, exceptions, message) of each call in a table of error_tables.py."""
    calls = []
    for line in table.strip("\n").split("\n"):
        if not line.startswith(" "):
            calls.append(line)
            continue
        names, _, message = line.strip(" ").partition(" ")
        for call in calls:
            yield call, tuple(EXCEPTIONS[name] for name in names.split("|")), f"^{message}"
        calls = []
    assert not calls


def assert_fails(row, names, watched):
    """Assert that the call raises exactly this, and that no watched array changes."""
    call, errors, message = row
    before = copied(watched())
    with pytest.raises(errors, match=message) as caught:
        eval(call, NAMES | names)
    assert type(caught.value) in errors
    assert_same_bits(watched(), before)


def assert_all_fail(rows, names, watched):
    """Assert that all calls fail as expected; report all that do not."""
    found = []
    for row in rows:
        try:
            assert_fails(row, names, watched)
        except (Exception, pytest.fail.Exception) as failure:
            found.append(f"{row[0]}: {type(failure).__name__}: {str(failure)[:300]}")
    assert not found, "\n".join(found)
