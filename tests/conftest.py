"""Fixtures and settings of all tests. The modules that tests import are in ``support``."""

import signal

import pytest
from hypothesis import HealthCheck, settings

import crnn
import crnn._core as _core

pytest.register_assert_rewrite("support")  # before its modules are imported

from support import smoke  # noqa: E402
from support.tables import DTYPES  # noqa: E402

settings.register_profile(
    "crnn",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("crnn")


@pytest.hookimpl(tryfirst=True)  # before pytest deselects items
def pytest_collection_modifyitems(config, items):
    """Mark the smoke tests; keep the names in their table that match no test, for test_smoke.py."""
    config.stash[smoke.IDLE] = smoke.mark(items)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Handle SIGINT as Python does by default; shells ignore it in background jobs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_core.isa_available())
def isa(request):
    """Each instruction set that is available on this machine, selected during the test."""
    before = _core.isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture(params=DTYPES)
def dtype(request):
    """Each float dtype."""
    return request.param


@pytest.fixture
def threads():
    """A function that sets the number of threads, which is restored after the test."""
    before = _core.num_threads()
    yield crnn.set_num_threads
    crnn.set_num_threads(before)


@pytest.fixture
def headless():
    """Figures without a window; they are closed after the test."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    yield
    plt.close("all")
