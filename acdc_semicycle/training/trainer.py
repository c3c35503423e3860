"""One iteration of semi-supervised CycleGAN, readable as the paper (Mondal et al. 2019, eq. 8 and 9)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer, Workflow
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils.enums import AdversarialIterationEvents as AdversarialEvents
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.optim import Optimizer

from acdc_semicycle.data.pairs import Pairs
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.losses import weigh
from acdc_semicycle.methods.objective import Batch, Objective
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")


def prepare_pairs(batch: dict[str, dict[str, Tensor]], device: torch.device, non_blocking: bool, classes: int) -> Batch:
    """A step's batch on the device, from ``{"labelled": {image, label}, "unlabelled": {VIEW: image, ...}}``.

    Unlabelled images may have a ``label``, too: their pseudo-labels.
    """

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=non_blocking)

    labelled, unlabelled = batch["labelled"], batch["unlabelled"]
    pseudo_labels = unlabelled.get(Keys.LABEL)
    return Batch(
        x=move(labelled[Keys.IMAGE]).float(),
        y=one_hot(move(labelled[Keys.LABEL]).long(), classes),
        views={name: move(image).float() for name, image in unlabelled.items() if name not in ("index", Keys.LABEL)},
        p=None if pseudo_labels is None else one_hot(move(pseudo_labels).long(), classes),
    )


def gradient_scaler(device: str | torch.device, amp: bool, amp_kwargs: Mapping[str, Any]) -> torch.amp.GradScaler:
    """The scaler of the gradients: of no effect but for half precision of 5 exponent bits (fp16)."""
    enabled = amp and amp_kwargs["dtype"] == torch.float16
    return torch.amp.GradScaler(torch.device(device).type, enabled=enabled)


def bf16_is_fast(device: str | torch.device) -> bool:
    """Whether the device computes in bf16 by itself: a GPU of 2020 or later, a CPU with AVX512-BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # torch 2.10 and later
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class SemiCycleTrainer(SupervisedTrainer):
    """Trains an objective's generators, then its discriminators, once a batch.

    Each iteration leaves in ``state.output`` the labelled ``image`` [B, C, H, W], its ``label`` (one-hot) and
    ``pred`` (softmax) [B, K, H, W], the generators' ``loss``, and every term under its own name.
    MONAI's ``IterationEvents`` fire in their order, forward, loss and backward for the generators; the
    discriminators' loss and backward have MONAI's ``AdversarialIterationEvents``.

    Args:
        device, max_epochs, train_data_loader: as in ``SupervisedTrainer``; the loader gives pairs
            (:class:`acdc_semicycle.data.pairs.Pairs`).
        objective: networks and terms (:class:`acdc_semicycle.methods.objective.Objective`).
        weights: of every term, by its name.
        classes: number of classes K.
        optimizer, d_optimizer: of the generators and of the discriminators.
        scaler: of the gradients where half precision needs it; a disabled one otherwise.
        epoch_length, inferer, train_handlers, decollate, amp, amp_kwargs: as in ``SupervisedTrainer``; autocast
            runs on ``device``.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Pairs,
        objective: Objective,
        weights: dict[str, float],
        classes: int,
        optimizer: Optimizer,
        d_optimizer: Optimizer,
        scaler: torch.amp.GradScaler,
        epoch_length: int | None = None,
        inferer: Inferer | None = None,
        train_handlers: Sequence | None = None,
        decollate: bool = True,
        amp: bool = False,
        amp_kwargs: dict | None = None,
    ) -> None:
        if set(weights) != set(objective.terms):
            raise InputError(
                f"weights are for {', '.join(weights)}: {type(objective).__name__} has {', '.join(objective.terms)}"
            )
        train_data_loader.select(objective.views)
        train_data_loader.look_with(objective.segmenter)
        # before super().__init__(): handlers attach inside it
        self.objective, self.weights = objective, weights
        distributed.share_weights(objective)  # of a teacher too, to which no gradient goes
        self.generator_terms = distributed.averaged(objective.generator_terms, objective.generators)
        self.discriminator_terms = distributed.averaged(objective.discriminator_terms, objective.discriminators)
        self.d_optimizer, self.grad_scaler = d_optimizer, scaler
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=objective.G_IS,
            optimizer=optimizer,
            loss_function=nn.Identity(),  # the objective has its own
            prepare_batch=prepare_pairs,
            to_kwargs={"classes": classes},
            event_names=[AdversarialEvents],
            epoch_length=epoch_length,
            inferer=inferer,
            train_handlers=train_handlers,
            decollate=decollate,
            amp=amp,
            amp_kwargs=amp_kwargs,
        )
        # ignite knows the epoch of torch's distributed sampler only
        self.add_event_handler(Events.EPOCH_STARTED, lambda: train_data_loader.set_epoch(self.state.epoch))

    def run(self) -> None:  # type: ignore[override]
        """Train; not MONAI's own ``run``, which makes a CUDA gradient scaler of its own that no resume restores."""
        log.info("training on %s, %s steps an epoch", self.state.device, self.state.epoch_length)
        Workflow.run(self)

    def _iteration(self, engine: SemiCycleTrainer, batchdata: dict) -> dict | list[dict]:  # type: ignore[override]
        """One step: the generators first, then the discriminators on the generators' outputs."""
        batch = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.objective.train()
        engine.state.output = {Keys.IMAGE: batch.x, Keys.LABEL: batch.y}

        engine.objective.discriminators.requires_grad_(False)  # they judge, but do not learn from it
        with engine._autocast():
            terms, outputs = engine.generator_terms(batch)
        engine.state.output[Keys.PRED] = outputs.s_x
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss = weigh(terms, engine.weights)
        engine.state.output[Keys.LOSS] = loss.detach()
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        engine._step(engine.optimizer, loss)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)

        engine.objective.discriminators.requires_grad_(True)
        with engine._autocast():
            d_terms = engine.discriminator_terms(batch, outputs)
        engine.fire_event(AdversarialEvents.DISCRIMINATOR_LOSS_COMPLETED)
        if d_terms:
            engine._step(engine.d_optimizer, weigh(d_terms, engine.weights))
        else:  # a method without discriminators: the schedule expects a step of their optimiser all the same
            engine.d_optimizer.step()
        engine.fire_event(AdversarialEvents.DISCRIMINATOR_BACKWARD_COMPLETED)

        engine.grad_scaler.update()
        engine.objective.after_step()
        engine.state.output |= {name: term.detach() for name, term in (terms | d_terms).items()}
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output  # not a local dict: handlers of MODEL_COMPLETED replace it

    def _autocast(self) -> torch.autocast:
        """The context in which networks run in mixed precision, if ``amp`` is on."""
        return torch.autocast(torch.device(self.state.device).type, enabled=self.amp, **self.amp_kwargs)

    def _step(self, optimizer: Optimizer, loss: Tensor) -> None:
        """Move the optimiser's weights against the gradient of a loss."""
        optimizer.zero_grad()
        self.grad_scaler.scale(loss).backward()
        self.grad_scaler.step(optimizer)
