"""One run of training: the trainer, what is shown while it runs, what is saved of it.

Methods come as objectives; nothing here knows one from another.
"""

from acdc_semicycle.runtime.exports import exports

HOMES = {
    "Balance": "watching",
    "Checkpoints": "checkpoints",
    "Handlers": "handlers",
    "Pictures": "pictures",
    "PseudoLabelling": "pseudo_labelling",
    "SemiCycleTrainer": "trainer",
    "StopAtNonFinite": "watching",
    "TermsLog": "terms_log",
    "gradient_scaler": "trainer",
}
__getattr__ = exports(__name__, HOMES)
