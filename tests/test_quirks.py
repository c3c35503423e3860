"""The published code's deviations: each does what paper.md says of bc02d92, and the paper's way stays the default."""

import itertools
import re
from collections import Counter
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from tiny import batch_of
from torch import nn

from acdc_semicycle import quirks
from acdc_semicycle.data.labels import CheckLabeld
from acdc_semicycle.data.pairs import EpochSampler
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets import cityscapes, voc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.methods.image_pool import ImagePool
from acdc_semicycle.methods.losses import weigh
from acdc_semicycle.methods.networks import PixelDiscriminator, ResidualGenerator
from acdc_semicycle.methods.semicycle import SemiCycle
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[1]
K = 3
WEIGHTS = {"gen_S": 1.0, "gen_I": 1.0, "cycle_S": 0.05, "cycle_I": 1.0, "adv_S": 0.5, "adv_I": 0.5, "disc_S": 0.5}


def judge(filters: int = 4) -> quirks.IndexJudge:
    return quirks.IndexJudge(PixelDiscriminator(1, filters, nn.InstanceNorm2d))


def objective(D_S: nn.Module, **kwargs) -> SemiCycle:
    torch.manual_seed(0)
    G_IS = ResidualGenerator(1, K, 2, 1)
    G_SI = ResidualGenerator(K, 1, 2, 1, activation=nn.Tanh())
    return SemiCycle(G_IS, G_SI, D_S, PixelDiscriminator(1, 4), **kwargs)


def batch():
    torch.manual_seed(1)
    y = torch.eye(K)[torch.randint(K, (2, 8, 12))].movedim(-1, 1)
    return torch.randn(2, 1, 8, 12), y, torch.randn(2, 1, 8, 12)


def test_masks_are_judged_by_the_index_of_the_most_probable_class():
    mask = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0]])  # four pixels
    shown = quirks.IndexJudge(nn.Identity())(mask.T.reshape(1, 3, 2, 2))
    assert shown.dtype == torch.float32
    assert shown.tolist() == [[[[1.0, 2.0], [0.0, 1.0]]]]


def test_a_pixel_that_nobody_annotated_is_judged_as_class_nought():
    y = torch.zeros(1, K, 1, 2)
    y[0, 2, 0, 1] = 1
    assert quirks.IndexJudge(nn.Identity())(y).flatten().tolist() == [0, 2]


def test_only_the_most_probable_class_counts_and_not_how_probable_it_is():
    D_S, random = judge().eval(), torch.randn(2, K, 4, 4)
    one_hot = torch.zeros_like(random).scatter_(1, random.argmax(1, keepdim=True), 1.0)
    assert torch.equal(D_S(random.softmax(1)), D_S(one_hot))


def test_the_judgement_of_indices_teaches_the_segmenter_nothing():
    both = objective(judge())
    terms, _ = both.generator_terms(batch_of(*batch()))
    terms["adv_S"].backward()  # reaches D_S, which is not frozen here
    assert all(p.grad is None for p in both.generators.parameters())

    both.discriminators.requires_grad_(False)  # as in the trainer
    terms, _ = both.generator_terms(batch_of(*batch()))
    assert not terms["adv_S"].requires_grad and terms["adv_S"] > 0


def gradients(D_S: nn.Module, adv_S: float) -> list[torch.Tensor]:
    """Of both generators, after the trainer's generator step."""
    given = objective(D_S)
    given.discriminators.requires_grad_(False)
    terms, _ = given.generator_terms(batch_of(*batch()))
    weigh(terms, WEIGHTS | {"adv_S": adv_S}).backward()
    return [p.grad for p in given.generators.parameters()]


def test_the_generators_step_is_the_one_without_a_judge_of_masks():
    with_judge, without = (gradients(judge(), adv_S) for adv_S in (0.5, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(with_judge, without, strict=True))
    assert any(gradient.abs().sum() > 0 for gradient in with_judge)
    papers, without = (gradients(PixelDiscriminator(K, 4), adv_S) for adv_S in (0.5, 0.0))
    assert not all(torch.equal(a, b) for a, b in zip(papers, without, strict=True))


def test_the_judge_itself_learns():
    D_S = judge()
    given, (x, y, u) = objective(D_S), batch()
    optimizer = torch.optim.Adam(given.discriminators.parameters(), 0.01)
    scores = []
    for _ in range(30):
        terms = given.discriminator_terms(batch_of(x, y, u), given.generator_terms(batch_of(x, y, u))[1])
        optimizer.zero_grad()
        terms["disc_S"].backward()
        scores.append(terms["disc_S"].item())
        optimizer.step()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in (D_S.judge.layers[0].weight, *D_S.judge.layers[5].parameters())
    )
    assert scores[-1] < 0.8 * scores[0]


def whole(number: int, size: int = 3) -> torch.Tensor:
    """A batch of one-pixel images, numbered ``10 number``, ``10 number + 1``, ..."""
    return (10.0 * number + torch.arange(size)).view(-1, 1, 1, 1)


def names(fakes: torch.Tensor) -> list[int]:
    return [int(fake) for fake in fakes]


def test_a_pool_of_batches_is_its_plain_replay():
    size, seed = 4, 7
    history, pool, random = quirks.BatchPool(size, seed), [], torch.Generator().manual_seed(seed)
    swapped = 0
    for number in range(300):
        new, expected = number, number
        if len(pool) < size:
            pool.append(new)
        elif torch.rand((), generator=random) >= 0.5:
            place = int(torch.randint(size, (), generator=random))
            expected, pool[place] = pool[place], new
            swapped += 1
        assert names(history.query(whole(new))) == names(whole(expected))
        assert [names(entry) for entry in history.pool] == [names(whole(kept)) for kept in pool]
    assert 120 < swapped < 176


def test_a_batch_is_shown_all_new_or_all_old_whereas_the_papers_history_mixes():
    def parts(history: ImagePool) -> set[int]:
        return {len({name // 10 for name in names(history.query(whole(number, 8)))}) for number in range(60)}

    assert parts(quirks.BatchPool(4)) == {1}
    assert max(parts(ImagePool(4))) > 1


def test_a_batch_of_another_size_is_shown_as_it_is_and_not_kept():
    history = quirks.BatchPool(2)
    for number in range(10):
        history.query(whole(number))
    before = [names(entry) for entry in history.pool]
    for number in range(10, 30):
        assert names(history.query(whole(number, 2))) == names(whole(number, 2))
    assert [names(entry) for entry in history.pool] == before


@pytest.mark.parametrize("size", [0, 2])
def test_batches_are_shown_and_kept_without_gradient_and_in_memory_of_their_own(size):
    history, fakes = quirks.BatchPool(size), torch.randn(3, 1, 2, 2, requires_grad=True)
    for _ in range(8):
        batch_of = fakes * 2
        assert not history.query(batch_of).requires_grad
        with torch.no_grad():
            batch_of.fill_(9)
    assert len(history.pool) == size
    assert all(not entry.requires_grad and not (entry == 9).any() for entry in history.pool)


def test_a_restored_pool_of_batches_goes_on_with_the_very_same_draws(tmp_path):
    history = quirks.BatchPool(4, seed=3)
    for number in range(10):
        history.query(whole(number))
    torch.save(history.state_dict(), tmp_path / "history.pt")
    expected = [names(history.query(whole(number))) for number in range(10, 60)]

    other = quirks.BatchPool(4, seed=99)
    other.load_state_dict(torch.load(tmp_path / "history.pt", weights_only=True))
    assert [names(other.query(whole(number))) for number in range(10, 60)] == expected


def test_the_objective_takes_either_history_and_the_papers_by_default():
    given = objective(judge(), pool_size=5, seed=2, image_pool=quirks.BatchPool)
    assert type(given.pool_S) is type(given.pool_I) is quirks.BatchPool
    assert given.pool_S.size == given.pool_I.size == 5
    for seen, seed in ((given.pool_S, 2), (given.pool_I, 3)):
        assert torch.equal(seen.state_dict()["random"], ImagePool(5, seed).state_dict()["random"])
    x, y, u = batch()
    given.discriminator_terms(batch_of(x, y, u), given.generator_terms(batch_of(x, y, u))[1])
    assert [entry.shape for entry in given.pool_S.pool] == [(2, K, 8, 12)]
    given.load_state_dict(deepcopy(given.state_dict()))
    assert type(objective(judge()).pool_S) is type(objective(judge()).pool_I) is ImagePool


def orders(kind: type[EpochSampler], size: int, length: int, seed: int = 0, epochs: int = 1) -> list[list[int]]:
    sampler, drawn = kind(range(size), length, seed), []
    for sampler.epoch in range(epochs):
        drawn.append(list(sampler))
    return drawn


@pytest.mark.parametrize(("size", "length"), [(3, 12), (5, 12), (1, 4), (7, 7)])
def test_a_repeated_list_shows_each_image_as_often_as_it_is_in_it(size, length):
    for order in orders(quirks.RepeatedSampler, size, length, epochs=5):
        assert sorted(order) == list(range(length))  # so the n-th repetition is n * size higher
        times = Counter(index % size for index in order)
        assert [times[i] for i in range(size)] == [length // size + (i < length % size) for i in range(size)]


def test_a_repeated_list_is_permuted_as_a_whole_and_not_repetition_by_repetition():
    def twice_within(order: list[int], window: int, size: int) -> bool:
        rounds = [order[first : first + window] for first in range(0, len(order), window)]
        return any(len({index % size for index in batch_of}) < len(batch_of) for batch_of in rounds)

    size, length = 10, 40
    whole_list = orders(quirks.RepeatedSampler, size, length, epochs=20)
    rounds = orders(EpochSampler, size, length, epochs=20)
    assert all(twice_within(order, size, size) for order in whole_list)
    assert not any(twice_within(order, size, size) for order in rounds)
    assert any(twice_within(order, 5, size) for order in whole_list)


def test_a_list_longer_than_the_epoch_loses_other_images_each_time():
    left_out = [frozenset(range(11)) - set(order) for order in orders(quirks.RepeatedSampler, 11, 8, epochs=8)]
    assert {len(images) for images in left_out} == {3}
    assert len(set(left_out)) > 4


def test_the_order_of_a_repeated_list_follows_from_seed_and_epoch():
    runs = [tuple(order) for seed in (0, 1) for order in orders(quirks.RepeatedSampler, 4, 16, seed, epochs=2)]
    assert len(set(runs)) == 4
    assert runs == [tuple(o) for seed in (0, 1) for o in orders(quirks.RepeatedSampler, 4, 16, seed, epochs=2)]


def unit(name: str, mask: bool = True, part: str = "training") -> Record:
    return Record(name, name, Path(name), Path(name) if mask else None, part=part)


def slices_of(patients: int, depth: int = 10) -> list[Record]:
    """Records of one slice each, whose ``patient`` is the slice's own name."""
    return [unit(f"patient{p:03d}_{z:02d}") for p in range(patients) for z in range(depth)]


@pytest.mark.parametrize(
    ("total", "train", "validation"), [(3475, 2953, 522), (1902, 1616, 286), (12030, 10225, 1805), (20, 17, 3)]
)
def test_of_all_records_85_percent_train_and_15_percent_validate(total, train, validation):
    result = quirks.split([unit(f"{n:05d}") for n in range(total)], 0.2)
    assert len(result.labelled + result.unlabelled) == train
    assert (len(result.validation), len(result.test)) == (validation, 0)
    assert len(result.labelled) == round(0.2 * train)


def test_the_order_is_numpys_of_seed_one():
    order = [3, 16, 6, 10, 2, 14, 4, 17, 7, 1, 13, 0, 19, 18, 9, 15, 8, 12, 11, 5]  # RandomState(1).permutation(20)
    result = quirks.split([unit(f"{n:02d}") for n in reversed(range(20))], 4)
    assert [int(name) for name in result.labelled + result.unlabelled + result.validation] == order
    assert [int(name) for name in result.labelled] == order[:4]


def test_a_split_is_always_the_same_and_leaves_the_global_random_state_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first = quirks.split(slices_of(4), 0.2)
    assert np.array_equal(np.random.get_state()[1], before)
    np.random.seed(6)
    assert quirks.split(slices_of(4)[::-1], 0.2) == first


def test_fewer_labelled_slices_are_a_part_of_more_and_the_rest_stays():
    results = [quirks.split(slices_of(10), labelled) for labelled in (1, 0.1, 0.2, 0.5, 1.0)]
    for fewer, more in itertools.pairwise(results):
        assert fewer.labelled == more.labelled[: len(fewer.labelled)] != more.labelled
        assert fewer.labelled + fewer.unlabelled == more.labelled + more.unlabelled
        assert fewer.validation == more.validation
    assert results[-1].unlabelled == ()


def test_slices_of_one_patient_may_be_in_every_part_but_no_slice_is_in_two():
    records = slices_of(5)
    parts = asdict(quirks.split(records, 0.3))
    assert sorted(name for part in parts.values() for name in part) == [record.patient for record in records]
    patients = {part: {name[:10] for name in parts[part]} for part in ("labelled", "unlabelled", "validation")}
    assert set.intersection(*patients.values())


def test_the_data_sets_own_testing_part_is_pooled_with_the_rest():
    ours = [unit(f"{n:02d}", part="testing" if n % 2 else "training") for n in range(20)]
    assert quirks.split(ours, 0.2) == quirks.split([unit(f"{n:02d}") for n in range(20)], 0.2)


def test_what_has_no_mask_is_unlabelled_and_changes_nothing_else():
    masked = slices_of(4)
    plain = [unit("z1", mask=False), unit("z0", mask=False)]
    few, many = quirks.split(masked, 1.0), quirks.split(masked + plain, 1.0)
    assert few.unlabelled == () and many.unlabelled == ("z0", "z1")
    assert (few.labelled, few.validation) == (many.labelled, many.validation)


@pytest.mark.parametrize("labelled", [0, -1, 35, 0.0, 1.5, float("nan"), True])
def test_a_labelled_part_that_cannot_be_is_refused(labelled):
    with pytest.raises(InputError, match=f"^labelled is {re.escape(str(labelled))}"):
        quirks.split(slices_of(4), labelled)


def test_a_data_set_with_nothing_to_train_on_is_refused():
    with pytest.raises(InputError, match="no labelled patient is left of 1"):
        quirks.split([unit("a")], 0.5)


SUPERVISED = {"gen_S": 1.0}


def test_adam_has_other_betas_for_supervised_training():
    assert quirks.betas(WEIGHTS) == [0.5, 0.999]
    assert quirks.betas({"gen_S": 1.0, "gen_I": 0.0}) == [0.5, 0.999]  # an ablation is the method still
    assert quirks.betas(SUPERVISED) == [0.9, 0.999]


def test_the_rate_decays_linearly_but_for_supervised_training():
    epochs = [0, 99, 100, 250, 399, 400]
    assert [quirks.decay(SUPERVISED, 100, 400)(epoch) for epoch in epochs] == [1.0] * 6
    factors = [quirks.decay(WEIGHTS, 100, 400)(epoch) for epoch in epochs]
    assert factors == pytest.approx([1, 1, 1, 0.5, 1 / 300, 0])


def test_the_seam_of_voc_is_background():
    assert dict(enumerate(range(21))) | {255: 0} == quirks.VOC_VALUES
    assert voc.VALUES[255] == 255, "the official values stay as they are"


def test_the_void_of_cityscapes_is_the_twentieth_class():
    scored = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert quirks.CITYSCAPES_VALUES.keys() == cityscapes.VALUES.keys()
    assert {stored: label for stored, label in quirks.CITYSCAPES_VALUES.items() if label != 19} == {
        stored: train for train, stored in enumerate(scored)
    }
    assert len(quirks.CITYSCAPES_CLASSES) == len(quirks.CITYSCAPES_COLOURS) == 20
    assert quirks.CITYSCAPES_CLASSES[19] == "void" and quirks.CITYSCAPES_CLASSES[:19] == cityscapes.CLASSES


def preset(*overlays: str, **override) -> ConfigParser:
    files = [ROOT / "bundles/semicycle/configs/train.json", *(ROOT / "configs" / f"{name}.yaml" for name in overlays)]
    config = ConfigParser.load_config_files([str(path) for path in files])
    return ConfigParser(config | {"demo": False, "filters": 2, "blocks": 1, "d_filters": 2} | override)


def test_the_preset_is_what_the_published_code_has():
    parser = preset("official-2019-08")
    assert parser.get_parsed_content("objective_def::image_pool") is quirks.BatchPool
    assert parser.get_parsed_content("train::dataloader::sampler") is quirks.RepeatedSampler
    assert parser.get_parsed_content("betas") == [0.5, 0.999]
    assert parser.get_parsed_content("lr_decay")(250) == pytest.approx(0.5)
    assert parser.get_parsed_content("protocol") == quirks.NOTE
    given = parser.get_parsed_content("objective_def")
    norms = [type(module) for D in given.discriminators for module in D.modules() if "Norm" in type(module).__name__]
    assert norms == [nn.InstanceNorm2d, nn.InstanceNorm2d]
    dropouts = [module.p for G in given.generators for module in G.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.5, 0.5]
    assert isinstance(given.D_S, quirks.IndexJudge) and given.D_S.judge.layers[0].in_channels == 1
    assert isinstance(given.pool_S, quirks.BatchPool) and given.pool_S.size == 50


def test_the_preset_splits_and_scores_slices():
    parser = preset("official-2019-08", records=slices_of(4), labelled=0.2)
    assert parser.get("split_unit") == "slice"
    assert parser.get_parsed_content("split") == quirks.split(slices_of(4), 0.2)
    assert list(parser.get_parsed_content("validate::evaluator::key_val_metric")) == ["paper_miou"]
    assert "dice" in parser.get_parsed_content("validate::evaluator::additional_metrics")


@pytest.mark.parametrize(
    ("name", "values", "without"), [("voc", quirks.VOC_VALUES, 0), ("cityscapes", quirks.CITYSCAPES_VALUES, 19)]
)
def test_the_mask_values_of_the_other_data_sets_are_the_quirks(name, values, without):
    parser = preset(name, "official-2019-08", f"official-2019-08-{name}")
    assert parser.get_parsed_content("mask_values") == values
    assert parser.get_parsed_content("paper_miou_without") == without
    if name == "cityscapes":
        assert parser.get_parsed_content("classes") == list(quirks.CITYSCAPES_CLASSES)
        assert parser.get_parsed_content("colours") == list(quirks.CITYSCAPES_COLOURS)


def test_partial_comes_behind_the_preset_with_its_own_optimiser():
    parser = preset("official-2019-08", "partial")
    assert parser.get_parsed_content("betas") == [0.9, 0.999]
    assert parser.get_parsed_content("lr_decay")(399) == 1.0
    assert type(parser.get_parsed_content("objective_def")).__name__ == "Supervised"


def test_every_quirk_of_the_preset_is_used():
    text = "".join(path.read_text() for path in (ROOT / "configs").glob("official-2019-08*.yaml"))
    public = {name for name in vars(quirks) if getattr(vars(quirks)[name], "__module__", "") == quirks.__name__}
    constants = {name for name in vars(quirks) if name.isupper() and name not in ("IGNORED", "BY_SLICE")}
    assert not {name for name in public | constants if not name.startswith("_") and f"quirks.{name}" not in text}


def test_the_seam_of_a_real_palette_mask_becomes_background(tmp_path):
    numbers = np.array([[0, 15, 255], [255, 15, 0]], np.uint8)
    picture = Image.fromarray(numbers).convert("P")
    palette = np.zeros((256, 3), np.uint8)
    palette[:21], palette[255] = voc.COLOURS, (224, 224, 192)
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "a.png")
    item = LoadCheckedd(["image", "label"], 3, voc.COLOURS)(dict.fromkeys(("image", "label"), str(tmp_path / "a.png")))
    for values, seam in ((voc.VALUES, 255), (quirks.VOC_VALUES, 0)):
        label = CheckLabeld("label", 21, values)(item)["label"][0, ..., 0]
        assert label.tolist() == [[0, 15, seam], [seam, 15, 0]]
