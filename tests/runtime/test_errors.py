"""A user's mistake is found below what other libraries make of it."""

import pytest

from acdc_semicycle.runtime.errors import InputError, causes, mistakes_alone


def wrapped() -> None:
    """Raise a mistake as MONAI hands it on."""
    try:
        raise InputError("mended by the user")
    except InputError as error:
        raise RuntimeError("applying transform") from error


def test_a_mistake_is_raised_in_the_place_of_what_wraps_it():
    with pytest.raises(InputError, match="mended by the user") as caught, mistakes_alone():
        wrapped()
    kinds = [type(cause) for cause in causes(caught.value)]  # ends, though each is the other's cause
    assert kinds == [InputError, RuntimeError]


def test_other_errors_stay_as_they_are():
    with pytest.raises(KeyError), mistakes_alone():
        raise KeyError("ours")
