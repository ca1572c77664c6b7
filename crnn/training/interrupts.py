"""Ctrl-C between two updates, not within one."""

import signal
import threading
from types import FrameType


class Interrupts:
    """Ctrl-C waits for a good moment: it is noted when it comes, and raised by `check`.

    A second Ctrl-C is raised at once. Outside the main thread, or where the program handles the
    signal itself, nothing is changed.
    """

    def __enter__(self) -> "Interrupts":
        self._noted = False
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True

    def check(self) -> None:
        """Raise the KeyboardInterrupt that is due, if one is."""
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None and self._noted:
            self.check()
