"""What ``semicycle train --help`` prints: the overlays, and the keys that are set most often.

It imports nothing slow: the table of all settings, :mod:`acdc_semicycle.config.settings`, needs torch.
"""

OVERLAYS = {
    "Data, where it is not ACDC": {
        "own_scans": "your own scans: --images FOLDER --masks FOLDER --classes \"['background','liver']\"",
        "own_pictures": "your own pictures, with the same keys",
        "unannotated": "after few: scans of hearts without any mask, --dataset_dir FOLDER",
        "pretrain": "after few: the network of this package again, --dataset_dir SUNNYBROOK",
        "voc, cityscapes": "the paper's other data sets: --dataset_dir FOLDER",
        "labels_10, labels_20, labels_30, labels_50, labels_100": "percent of the training patients that are labelled",
    },
    "Size, where the paper's is too much": {
        "few": "few annotated patients: an evening on two CPU cores",
        "small": "the paper's method on ACDC: an hour on two CPU cores",
        "tiny": "any data and method in minutes, to compare them",
    },
    "Method, where it is not the paper's": {
        "partial": "supervised, on the labelled images alone",
        "mean_teacher, hung": "Tarvainen and Valpola 2017, Hung et al. 2018",
        "semicycle, unimatch, bcp": "after few: the paper's method, UniMatch and Bidirectional Copy-Paste in its place",
        "ablation_no_cycle_I, ablation_no_cycle_S, ablation_no_disc_I, ablation_no_disc_S": "without a term",
        "official-2019-08, official-2019-08-voc, official-2019-08-cityscapes": "what the published code does, last",
    },
}
KEYS = {
    "dataset_dir": "the data set's folder; without one a phantom is drawn",
    "output_dir": "the run's folder; the same command continues what is there",
    "name": "the same, as the name of a folder in runs/",
    "images, masks, patient": "your own data: two folders, and the expression for the patient in a name",
    "classes, mask_values, colours": "names, the background first; what the values or colours of masks mean",
    "mended": "a folder of masks that came back: drafts of `next` that you mended",
    "labelled": "patients with masks that are used: a number, or a fraction",
    "validation, test": "fractions of the patients that choose the epoch, or are kept for the end",
    "epochs, minutes": "how long: in epochs, or in minutes on this machine",
    "image_size, batch_size": "rows and columns that the network sees; slices of a step",
    "learning_rate, seed": "of Adam; of all that is random",
    "device": "cpu, cuda, cuda:1",
    "from": "an earlier run whose weights this one starts from, pretrained, or none",
    "folds": "3, or leave-one-out: each labelled patient scored by a network not trained on it",
}
WIDTH = 24  # of the names

HEAD = """semicycle train [OVERLAY ...] [--KEY VALUE ...] [-v]

Train a network, validate it after each epoch, and report on the best one. Without words it trains on a phantom in
three minutes: a demonstration. With --dataset_dir alone it is the paper's preset on ACDC, which needs a GPU.

  semicycle train small --dataset_dir ACDC
  semicycle train own_scans few --images IMAGES --masks MASKS --classes "['background','liver']"

An overlay is a name of these or your own file of keys and values; later ones win. -v shows MONAI's own notices."""
FOOT = "All keys, their defaults and what may stand there: docs/settings.md. The data first: semicycle check --help."


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, overlays in OVERLAYS.items():
        parts.append("\n".join([f"{title}:", *map(_line, overlays.items())]))
    options = {f"--{names.replace(', ', ', --')}": words for names, words in KEYS.items()}
    parts.append("\n".join(["Keys that are set most often:", *map(_line, options.items())]))
    return "\n\n".join([*parts, FOOT])


def _line(row: tuple[str, str]) -> str:
    """Names and what they are, the words on a line of their own where the names are long."""
    names, words = row
    if len(names) > WIDTH:
        return f"  {names}\n  {'':{WIDTH}}  {words}"
    return f"  {names:{WIDTH}}  {words}"
