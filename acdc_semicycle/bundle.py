"""All that the bundle's configurations call in ``$`` expressions: a configuration imports this one module."""

from acdc_semicycle.artifacts.chosen_model import model_for, newest_model
from acdc_semicycle.artifacts.model import build_image_generator, bundle_root, card, open_model
from acdc_semicycle.artifacts.warm_start import remember_source, start_from
from acdc_semicycle.config.identity import identity
from acdc_semicycle.config.locations import shipped
from acdc_semicycle.config.networks import network_card
from acdc_semicycle.config.run_name import run_name
from acdc_semicycle.config.startup import begin, prepare
from acdc_semicycle.config.tasks import (
    chosen,
    claim,
    data_root,
    environment_value,
    in_order,
    others,
    probe,
    required,
)
from acdc_semicycle.data.check import read_acdc
from acdc_semicycle.data.digests import contents
from acdc_semicycle.data.sampling import EpochSampler
from acdc_semicycle.data.splits import load as load_split
from acdc_semicycle.data.splits import records_of, scored, units
from acdc_semicycle.data.training_ranges import remember_ranges
from acdc_semicycle.datasets import acdc, cityscapes, folder, pretraining, voc
from acdc_semicycle.datasets.mended import with_mended
from acdc_semicycle.datasets.mended_table import remember as remember_mended
from acdc_semicycle.datasets.records import BY_SLICE
from acdc_semicycle.evaluation.gain import tell_of_gain
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.inference.predict import run as predict
from acdc_semicycle.methods.configured import configured
from acdc_semicycle.methods.ensemble import build as build_network
from acdc_semicycle.methods.image_pool import ImagePool
from acdc_semicycle.methods.schedules import linear_decay, poly_decay
from acdc_semicycle.runtime import distributed
from acdc_semicycle.training.last_page import train
from acdc_semicycle.training.trainer import bf16_is_fast

__all__ = [
    "BY_SLICE",
    "EpochSampler",
    "ImagePool",
    "acdc",
    "begin",
    "bf16_is_fast",
    "build_image_generator",
    "build_network",
    "bundle_root",
    "card",
    "chosen",
    "cityscapes",
    "claim",
    "configured",
    "contents",
    "data_root",
    "distributed",
    "environment_value",
    "folder",
    "identity",
    "in_order",
    "is_picture",
    "linear_decay",
    "load_split",
    "model_for",
    "network_card",
    "newest_model",
    "open_model",
    "others",
    "poly_decay",
    "predict",
    "prepare",
    "pretraining",
    "probe",
    "read_acdc",
    "records_of",
    "remember_mended",
    "remember_ranges",
    "remember_source",
    "required",
    "run_name",
    "scored",
    "shipped",
    "start_from",
    "tell_of_gain",
    "train",
    "units",
    "voc",
    "with_mended",
]
