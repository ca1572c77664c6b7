"""Ctrl-C between two updates, not within an update."""

import signal
import threading
from types import FrameType


class Interrupts:
    """Delay of Ctrl-C: the first one is raised by the next call of `check`.

    A second Ctrl-C is raised immediately. Outside of the main thread, or if the program handles the
    signal itself, nothing is changed.
    """

    def __enter__(self) -> "Interrupts":
        self._pending = False
        in_main = threading.current_thread() is threading.main_thread()
        self._installed = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pending:
            raise KeyboardInterrupt
        self._pending = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed since the last call."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if error_type is None and self._pending:
            self.check()
