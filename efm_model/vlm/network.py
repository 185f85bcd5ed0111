"""
A vision-language model that acts and judges, behind the interface of the compact model.

Everything comes in and goes out on the CPU; where the model itself is, is its own affair.
Letters: ``B`` batch, ``K`` action tokens, ``V`` largest action vocabulary, ``P`` word pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
import warnings

from efm_core.embodiment import Embodiment
from efm_model.grounding import NEVER
from efm_model.network import log_probability
from efm_model.vlm.config import answers_of, VlmConfig, VlmModelConfig
from efm_model.vlm.loading import hash_folder, load_base
from efm_model.vlm.prompts import Glimpse, Prompter, Sentences
from efm_model.vlm.tokens import check_tokens, choose_tokens
import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.modeling_layers import GradientCheckpointingLayer


class VlmModel(nn.Module):
    """
    Actions, steps-to-go and instructions as tokens of one pretrained model.

    Its ``state_dict`` is what learns: adapters and the rows of the answers' tokens, or everything.
    The base model stays where it is, known by the hash of its folder.
    """

    family = 'vlm'

    def __init__(self, config: VlmModelConfig, base: nn.Module, *, processor: Any):
        super().__init__()
        self.config = config
        self.max_batch_size = config.options.max_batch_size
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # names that transformers will change
            self.base = prepare(base, config)
        self.prompter = Prompter(processor, base.config.model_type, device=base.device)
        self._names = [name for name, p in self.named_parameters() if p.requires_grad]
        self._actions = torch.tensor(config.tokens.action, device=base.device)
        self._bins = torch.tensor(config.tokens.steps_to_go, device=base.device)
        allowed = (
            torch.arange(max(config.vocabulary))[None] < torch.tensor(config.vocabulary)[:, None]
        )
        self._forbidden = torch.where(allowed, 0.0, NEVER)  # (K, V)

    @property
    def sentences(self) -> Sentences:
        """What trainer, policy and judge take in place of the sentence encoder."""
        return Sentences(self.prompter.tokenizer)

    def features(
        self, observations: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> Glimpse:
        """Return what the heads take; arguments as ``Glimpse``."""
        return Glimpse(observations, text, mask)

    def scenes(self, frames: torch.Tensor) -> torch.Tensor:
        """Return what the instruction is told from: ``frames``, ``(B, H, W, 3)``, themselves."""
        return frames

    def policy_logits(self, features: Glimpse, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each action token given those before it, ``(B, K, V)``."""
        inputs = self.prompter.ask('action', features)
        before = self._actions[tokens[:, :-1].to(self._actions.device)]
        logits = self._forward(self.prompter.append(inputs, before), tokens.shape[1])
        return logits[..., self._actions].float().cpu() + self._forbidden

    @torch.no_grad()
    def sample(
        self, features: Glimpse, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Return tokens ``(B, K)``, their log-probability ``(B,)``, logits ``(B, K, V)``.

        :param gumbel: noise, ``(B, K, V)``; the maximum of logits and noise is a sample.
        """
        inputs = self.prompter.ask('action', features)
        choice = Choice(self._actions, self._forbidden, gumbel=gumbel)
        self._whole.generate(
            **inputs,
            generation_config=GenerationConfig(
                max_new_tokens=gumbel.shape[1], pad_token_id=self.prompter.tokenizer.pad_token_id
            ),
            logits_processor=LogitsProcessorList([choice]),
        )
        tokens = torch.stack(choice.tokens, dim=1)
        logits = torch.stack(choice.logits, dim=1)
        return tokens, log_probability(logits, tokens), logits

    def steps_to_go_logits(self, features: Glimpse) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)``."""
        logits = self._forward(self.prompter.ask('steps_to_go', features), 1)
        return logits[:, 0, self._bins].float().cpu()

    def instruction_logits(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """
        Return the logits of the next piece, ``(B, P, vocabulary)``.

        :param first: the first frame, ``(B, H, W, 3)``; ``last`` the last.
        :param pieces: the instruction so far, ``(B, P)``; the first one, its begin, is not read.
        """
        nothing = torch.zeros(len(first), 1, 1)
        glimpse = Glimpse(torch.stack([first, last], dim=1), nothing, nothing[..., 0])
        inputs = self.prompter.ask('instruction', glimpse)
        begun = pieces[:, 1:]
        end = self.prompter.tokenizer.eos_token_id
        ended = (begun == end).cumsum(dim=1) > 0
        return (
            self._forward(self.prompter.append(inputs, begun, (~ended).long()), pieces.shape[1])
            .float()
            .cpu()
        )

    def encode_pieces(self, pieces: list[str]) -> list[int]:
        """Return an instruction's pieces as ids, between two marks of the end."""
        tokenizer = self.prompter.tokenizer
        end = tokenizer.eos_token_id
        return [end, *tokenizer.convert_tokens_to_ids(pieces), end]

    def freeze_vision(self) -> None:
        """
        Let the vision encoder, its adapters too, learn no more.

        :raises ValueError: when no part of the model is known as such.
        """
        grounding = self._whole.get_encoder(modality='image')
        if grounding in (self._whole, self._whole.base_model):
            raise ValueError('base: expected a model with a vision encoder, got one without')
        grounding.requires_grad_(False)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Return what learns, by name, on the CPU."""
        found = dict(self.named_parameters())
        return {name: found[name].detach().cpu() for name in self._names}

    def load_state_dict(self, weights: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> None:
        """
        Take over what ``state_dict`` returned.

        :raises RuntimeError: when names or shapes are others.
        """
        found = dict(self.named_parameters())
        if sorted(weights) != sorted(self._names):
            odd = sorted(set(weights) ^ set(self._names))
            raise RuntimeError(
                f'weights: expected {len(self._names)} names, got others: {odd[:3]}'
            )
        with torch.no_grad():
            for name, value in weights.items():
                if found[name].shape != value.shape:
                    raise RuntimeError(
                        f'{name}: expected {tuple(found[name].shape)}, got {tuple(value.shape)}'
                    )
                found[name].copy_(value)

    @property
    def _whole(self) -> nn.Module:
        """The transformers model, adapters inside."""
        return self.base.get_base_model() if hasattr(self.base, 'get_base_model') else self.base

    def _forward(self, inputs: dict, keep: int) -> torch.Tensor:
        """Return the logits of the last ``keep`` positions, ``(B, keep, vocabulary)``."""
        with self._recomputing():
            return self.base(**inputs, logits_to_keep=keep, use_cache=False).logits

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """Let layers keep no activations, where gradients are asked for, dropout or not."""
        layers = [m for m in self.base.modules() if isinstance(m, GradientCheckpointingLayer)]
        modes = [layer.training for layer in layers]
        if self.config.options.recompute and torch.is_grad_enabled():
            for layer in layers:
                layer.training = True
        yield
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


class Choice(LogitsProcessor):
    """Draws each token among the allowed ones by the noise that is given, and remembers it."""

    def __init__(self, ids: torch.Tensor, forbidden: torch.Tensor, *, gumbel: torch.Tensor):
        self._ids = ids
        self._forbidden = forbidden
        self._gumbel = gumbel
        self.tokens: list[torch.Tensor] = []
        self.logits: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores, ``(B, vocabulary)``, that leave nothing but the token drawn."""
        k = len(self.tokens)
        self.logits.append(scores[:, self._ids].float().cpu() + self._forbidden[k])
        self.tokens.append((self.logits[k] + self._gumbel[:, k]).argmax(dim=-1))
        drawn = self._ids[self.tokens[k].to(self._ids.device)]
        return torch.full_like(scores, -torch.inf).scatter(1, drawn[:, None], 0.0)


def prepare(base: nn.Module, config: VlmModelConfig) -> nn.Module:
    """Return ``base`` with what shall learn of it: adapters and the answers' rows, or all."""
    options = config.options
    if options.recompute:
        base.gradient_checkpointing_enable({'use_reentrant': False})
    if options.tuning == 'full':
        return base.requires_grad_(True)
    from peft import get_peft_model, LoraConfig

    adapters = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.lora_dropout,
        target_modules='all-linear',
        trainable_token_indices=_rows_that_learn(base, config),
    )
    return get_peft_model(base, adapters)


def _rows_that_learn(base: nn.Module, config: VlmModelConfig) -> dict[str, list[int]]:
    """Return the ids of the answers for each layer that has rows for them, by the layer's name."""
    ids = sorted({*config.tokens.action, *config.tokens.steps_to_go})
    words = base.get_input_embeddings()
    answers = base.get_output_embeddings()
    layers = [words] if answers.weight is words.weight else [words, answers]
    names = {module: name.rpartition('.')[2] for name, module in base.named_modules()}
    return {names[layer]: ids for layer in layers}


def new_vlm(embodiment: Embodiment, options: VlmConfig, seed: int = 0) -> VlmModel:
    """
    Return a model that has learned nothing of robots yet.

    :raises ValueError: when the folder holds no such model, or its tokenizer has no room.
    """
    vocabulary, bins = answers_of(embodiment)
    base_hash = hash_folder(options.base)
    return _assemble(options, base_hash, vocabulary, bins, seed)


def restore_vlm(config: VlmModelConfig) -> VlmModel:
    """
    Return the model of a checkpoint, without its weights.

    :raises ValueError: when the base folder is not there, or not the one that was fine-tuned.
    """
    found = hash_folder(config.options.base)
    if found != config.base_hash:
        raise ValueError(
            f'base: expected the folder with hash {config.base_hash}, got {found} in '
            f'{config.options.base}'
        )
    options = config.options
    vocabulary = config.vocabulary
    model = _assemble(options, found, vocabulary, config.steps_to_go_bins, 0)
    check_tokens(model.config.tokens, config.tokens)
    return model


def _assemble(
    options: VlmConfig, base_hash: str, vocabulary: tuple[int, ...], bins: int, seed: int
) -> VlmModel:
    base, processor = load_base(options)
    rows = base.get_input_embeddings().weight.shape[0]
    source = options.token_source
    tokens = choose_tokens(processor.tokenizer, rows, max(vocabulary), bins, source)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if len(processor.tokenizer) > rows:
            base.resize_token_embeddings(len(processor.tokenizer))
        config = VlmModelConfig(
            options, base_hash, tokens=tokens, vocabulary=vocabulary, steps_to_go_bins=bins
        )
        return VlmModel(config, base, processor=processor).eval()
