"""``python -m nextgpt_chat chat | train | evaluate | doctor``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
