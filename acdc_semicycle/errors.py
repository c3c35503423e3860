"""The one error a user is meant to read."""


class InputError(ValueError):
    """A mistake in what the user gave: its text says what was given, what was expected, what to do."""
