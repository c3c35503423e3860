"""The one error a user is meant to read."""

import os
import time


class InputError(ValueError):
    """A mistake in what the user gave: its text says what was given, what was expected, what to do."""


def speak_in_turn() -> None:
    """Before an error is shown: where several processes fail alike, each machine's first one says so.

    By the time the others would, torchrun has ended them; one that fails alone is heard a little later.
    """
    if int(os.environ.get("LOCAL_RANK", 0)):
        time.sleep(10)
