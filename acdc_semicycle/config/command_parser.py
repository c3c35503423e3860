"""The configuration of a command that does not run the bundle: read and checked here, in the words of a training."""

from __future__ import annotations

from collections.abc import Sequence

from monai.bundle import ConfigParser

from acdc_semicycle.config import former
from acdc_semicycle.config.command import paths_and_settings
from acdc_semicycle.config.locations import folder
from acdc_semicycle.config.networks import check_classes
from acdc_semicycle.config.overlays import check_sections
from acdc_semicycle.config.startup import take_words
from acdc_semicycle.config.validate import check


def parser_of(overlays: Sequence[str], words: Sequence[str]) -> ConfigParser:
    """The bundle's training with overlays and ``--KEY VALUE`` words, as far as nothing of it has to be evaluated.

    Raises:
        InputError: a key that there is not, or a value that cannot be.
    """
    files = [str(folder("bundles/semicycle") / "configs" / "train.json"), *overlays]
    check_sections(files, words)
    paths, settings = paths_and_settings(list(words))
    parser = ConfigParser()
    parser.read_config(files)
    parser.update(paths | settings)
    take_words(parser, words)
    former.understand(parser)
    check_classes(parser.get())
    check(parser.get())
    return parser
