"""``python -m acdc_semicycle`` is ``semicycle``."""

import sys

from acdc_semicycle.cli import main

sys.exit(main())
