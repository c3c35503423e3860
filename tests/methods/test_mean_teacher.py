"""Mean Teacher: its terms are their equations, its teacher the mean of the student's weights, exact under a resume."""

from copy import deepcopy
from math import exp

import numpy as np
import pytest
import reference
import torch
from torch import nn

from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.pairs import Pairs
from acdc_semicycle.methods.mean_teacher import MeanTeacher
from acdc_semicycle.methods.objective import Batch
from acdc_semicycle.methods.teacher import Teacher
from tests.methods.few_runs import check_resume, workflow
from tests.methods.test_baselines import parser
from tests.methods.test_objective import segmenter, trainer_of
from tests.methods.test_semicycle import C, K, random_masks, stub, tensor, values
from tests.training.test_trainer import slices, weights_of

VIEW = Augment(gain=0.3, offset=0.1, intensity=1.0)
VIEWS = {"student": VIEW, "teacher": VIEW}


@pytest.mark.parametrize("steps", [0, 3, 10, 25])
def test_every_term_equals_its_equation(steps):
    random = np.random.default_rng(0)
    student, teacher = ((random.normal(size=(K, C)), random.normal(size=K)) for _ in range(2))
    x, u, u_ = random.normal(size=(3, 2, C, 3, 4))
    y = random_masks(random, 2, 3)
    objective = MeanTeacher(stub(*student), ramp_steps=10)
    objective.T.network, objective.T.steps = stub(*teacher), steps
    terms, outputs = objective.generator_terms(
        Batch(tensor(x), tensor(y), {"student": tensor(u), "teacher": tensor(u_)})
    )
    G_IS, T = reference.linear_map(*student), reference.linear_map(*teacher)
    ramp = exp(-5 * (1 - min(1, steps / 10)) ** 2)
    difference = reference.softmax(G_IS(u)) - reference.softmax(T(u_))
    expected = {"gen_S": reference.L_gen_S(G_IS, x, y), "consistency": ramp * (difference**2).mean()}
    assert values(terms) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(outputs.s_x, reference.softmax(G_IS(x)), atol=1e-5)


def test_the_teacher_is_the_plain_mean_first_and_forgets_the_start_later():
    student = nn.Linear(1, 1, bias=False)
    teacher, given = Teacher(student, decay=0.75), [student.weight.item()]
    for value in (1.0, 5.0, 3.0):
        nn.init.constant_(student.weight, value)
        teacher.update(student)
        given.append(value)
        assert teacher.network.weight.item() == pytest.approx(np.mean(given))
    nn.init.constant_(student.weight, 7.0)
    before = teacher.network.weight.item()
    teacher.update(student)
    assert teacher.network.weight.item() == pytest.approx(0.75 * before + 0.25 * 7.0)


def test_the_teacher_learns_nothing_itself_and_never_trains():
    objective = MeanTeacher(nn.Sequential(segmenter(), nn.Dropout(0.5)), ramp_steps=1)
    objective.train()
    assert objective.G_IS.training and not any(module.training for module in objective.T.modules())
    batch = Batch(torch.randn(2, 1, 4, 4), torch.ones(2, 3, 4, 4) / 3, dict.fromkeys(VIEWS, torch.randn(2, 1, 4, 4)))
    terms, _ = objective.generator_terms(batch)
    sum(terms.values()).backward()
    assert all(weight.grad is None for weight in objective.T.parameters())
    assert all(weight.grad is not None for weight in objective.G_IS.parameters())
    assert objective.segmenter is objective.T.network


def test_the_teachers_running_means_are_the_students():
    student = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    teacher = Teacher(student)
    student(torch.randn(4, 1, 8, 8))
    teacher.update(student)
    assert torch.equal(teacher.network[1].running_mean, student[1].running_mean)
    assert int(teacher.network[1].num_batches_tracked) == 1


def test_it_is_in_the_state_and_goes_on_from_there():
    objective = MeanTeacher(segmenter(), ramp_steps=4)
    trainer_of(objective, Pairs(slices(1), slices(2, 3, keys=["image"]), 2, views=VIEWS)).run()
    assert objective.T.steps == 3
    other = MeanTeacher(segmenter(), ramp_steps=4)
    other.load_state_dict(deepcopy(objective.state_dict()))
    for each in (objective, other):
        nn.init.constant_(each.G_IS.weight, 1.0)
        each.after_step()
    assert all(torch.equal(a, b) for a, b in zip(weights_of(objective), weights_of(other), strict=True))
    assert objective._ramp() == other._ramp() == 1.0


def test_after_few_its_views_are_the_strong_and_the_weak_windows(tmp_path, phantom_dir):
    flow = workflow(tmp_path, phantom_dir, "mean_teacher")
    flow.initialize()
    augment = flow.parser.get_parsed_content("train::augment")
    assert flow.parser.get_parsed_content("train::views") == {"student": augment, "teacher": augment.plain}


def test_without_few_its_views_are_two_of_whole_slices():
    config = parser("mean_teacher")
    view = Augment(gain=0.2, offset=0.1)
    assert config.get_parsed_content("train::views") == {"student": view, "teacher": view}


def test_after_few_a_real_training_resumes_to_the_same_bits(tmp_path, phantom_dir):
    check_resume(tmp_path, phantom_dir, "mean_teacher")
