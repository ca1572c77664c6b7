"""Entry point of ``python -m crnn.cli``, which is the command ``crnn``."""

import sys

from crnn.cli import main

sys.exit(main())
