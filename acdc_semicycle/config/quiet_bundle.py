"""``python -m monai.bundle`` without the warning that configuration files lie in several folders, as overlays do."""

from __future__ import annotations

import logging
import runpy
import sys

NOTICE = "Not all config files are in"  # how the warning begins; MONAI gives it before it reads how to log
LOGGER = "monai.bundle.workflows"


def main() -> None:
    """Run MONAI's command; where a result names the command that made it, it is MONAI's."""
    logging.getLogger(LOGGER).addFilter(_is_another)
    sys.orig_argv[1:] = ["-m", "monai.bundle", *sys.argv[1:]]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def _is_another(record: logging.LogRecord) -> bool:
    """Whether a line of the log is not that warning."""
    return not record.getMessage().startswith(NOTICE)


if __name__ == "__main__":
    main()
