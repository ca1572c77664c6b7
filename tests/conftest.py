"""Fixtures and settings of all tests; what tests import stands in ``support``."""

import signal

import pytest
from hypothesis import HealthCheck, settings

import crnn
import crnn._core as _core

pytest.register_assert_rewrite("support")  # before any of it is imported

from support import smoke  # noqa: E402
from support.tables import DTYPES  # noqa: E402

settings.register_profile(
    "crnn",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("crnn")


@pytest.hookimpl(tryfirst=True)  # before any are left out
def pytest_collection_modifyitems(config, items):
    """Mark the smoke tests; test_smoke.py looks at what is idle in their table."""
    config.stash[smoke.IDLE] = smoke.mark(items)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Tests of Ctrl-C work where the shell ignores it, as it does for jobs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_core.isa_available())
def isa(request):
    """Run with each instruction set in turn."""
    before = _core.isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture(params=DTYPES)
def dtype(request):
    """Run with each float type in turn."""
    return request.param


@pytest.fixture
def threads():
    """A function that sets the number of threads; the number there was comes back afterwards."""
    before = _core.num_threads()
    yield crnn.set_num_threads
    crnn.set_num_threads(before)


@pytest.fixture
def headless():
    """Figures without a window, closed afterwards."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    yield
    plt.close("all")
