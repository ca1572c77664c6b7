"""``python -m crnn.cli`` is the command ``crnn``."""

import sys

from crnn.cli import main

sys.exit(main())
