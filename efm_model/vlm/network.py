"""
A pretrained vision-language model as policy and reward model.

Actions and steps-to-go are tokens of the model's own vocabulary. Inputs and outputs are on the
CPU; the model may be on a GPU.

Letters: ``B`` batch, ``K`` tokens of an action, ``V`` largest number of values of a token, ``P``
word pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
import warnings

from efm_core.embodiment import Embodiment
from efm_model.grounding import NEVER
from efm_model.network import log_probability
from efm_model.protocol import Inputs
from efm_model.runtime import image_input, PROPRIOCEPTION
from efm_model.vlm.config import contract_of, VlmConfig, VlmModelConfig
from efm_model.vlm.loading import hash_folder, load_base
from efm_model.vlm.prompts import PromptBuilder, PromptInputs, Utf8TextEncoder
from efm_model.vlm.tokens import check_tokens, choose_tokens
import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.modeling_layers import GradientCheckpointingLayer


class VlmModel(nn.Module):
    """
    A vision-language model that provides ``efm_model.protocol.Model``.

    ``state_dict`` holds only trained weights: the adapters and the embeddings of the tokens that
    stand for actions and steps-to-go, or all weights after full fine-tuning. A checkpoint names
    the base model by the hash of its folder.

    :ivar config: settings of the model.
    :ivar base: the transformers model, with adapters.
    :ivar prompter: builds the model inputs.
    """

    family = 'vlm'
    base: Any

    def __init__(self, config: VlmModelConfig, base: Any, *, processor: Any):
        """
        Add adapters to a base model.

        :param base: the model, from transformers.
        :param processor: of the model, from transformers.
        """
        super().__init__()
        self.config = config
        self.max_batch_size = config.options.max_batch_size
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # transformers will rename something
            self.base = make_trainable(base, config)
        self.prompter = PromptBuilder(
            processor,
            base.config.model_type,
            device=base.device,
            cameras=config.cameras,
            proprioception=config.proprioception,
        )
        self._names = [name for name, p in self.named_parameters() if p.requires_grad]
        self._actions = torch.tensor(config.tokens.action, device=base.device)
        self._bins = torch.tensor(config.tokens.steps_to_go, device=base.device)
        allowed = (
            torch.arange(max(config.vocabulary))[None] < torch.tensor(config.vocabulary)[:, None]
        )
        self._forbidden = torch.where(allowed, 0.0, NEVER)  # (K, V)

    @property
    def text_encoder(self) -> Utf8TextEncoder:
        """The text encoder for trainer, policy and reward model."""
        return Utf8TextEncoder(self.prompter.tokenizer)

    def features(self, inputs: Inputs) -> PromptInputs:
        """Return the inputs of a prompt: all cameras, the instruction and the current state."""
        cameras = range(len(self.config.cameras))
        state = inputs[PROPRIOCEPTION][:, 1] if self.config.proprioception else None
        return PromptInputs(
            tuple(inputs[image_input(camera)] for camera in cameras),
            inputs['text'],
            inputs['text_mask'],
            state,
        )

    def scene_features(self, frames: torch.Tensor) -> torch.Tensor:
        """Return ``frames`` themselves, ``(B, H, W, 3)`` uint8 RGB."""
        return frames

    def policy_logits(self, features: PromptInputs, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each action token given the tokens before it; see ``Model``."""
        prompts = self.prompter.build('action', features)
        before = self._actions[tokens[:, :-1].to(self._actions.device)]
        logits = self._forward(self.prompter.append(prompts, before), tokens.shape[1])
        return logits[..., self._actions].float().cpu() + self._forbidden

    @torch.no_grad()
    def sample(
        self, features: PromptInputs, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return sampled tokens, their log-probability and their logits; see ``Model``."""
        sampler = GumbelSampler(self._actions, self._forbidden, gumbel=gumbel)
        self._transformer.generate(
            **self.prompter.build('action', features),
            generation_config=GenerationConfig(
                max_new_tokens=gumbel.shape[1], pad_token_id=self.prompter.tokenizer.pad_token_id
            ),
            logits_processor=LogitsProcessorList([sampler]),
        )
        tokens = torch.stack(sampler.tokens, dim=1)
        logits = torch.stack(sampler.logits, dim=1)
        return tokens, log_probability(logits, tokens), logits

    def steps_to_go_logits(self, features: PromptInputs) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)`` float32."""
        logits = self._forward(self.prompter.build('steps_to_go', features), 1)
        return logits[:, 0, self._bins].float().cpu()

    def instruction_logits(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """
        Return the logits of the next word piece at each position, ``(B, P, vocabulary)``.

        :param first: first frame of each episode, ``(B, H, W, 3)`` uint8 RGB.
        :param last: last frame of each episode, ``(B, H, W, 3)`` uint8 RGB.
        :param pieces: ids of the pieces so far, ``(B, P)`` int64; the mark at the begin is not
            read.
        """
        no_text = torch.zeros(len(first), 1, 1)
        pair = torch.stack([first, last], dim=1)
        inputs = PromptInputs((pair,), no_text, no_text[..., 0])
        prompts = self.prompter.build('instruction', inputs)
        before = pieces[:, 1:]
        has_ended = (before == self.prompter.tokenizer.eos_token_id).cumsum(dim=1) > 0
        answers = self.prompter.append(prompts, before, (~has_ended).long())
        return self._forward(answers, pieces.shape[1]).float().cpu()

    def encode_pieces(self, pieces: list[str]) -> list[int]:
        """Return the ids of an instruction's pieces, between two end marks."""
        tokenizer = self.prompter.tokenizer
        end = tokenizer.eos_token_id
        return [end, *tokenizer.convert_tokens_to_ids(pieces), end]

    @property
    def encoder(self) -> nn.Module:
        """The whole model: image and instruction enter together."""
        return self

    @property
    def features_are_frozen(self) -> bool:
        """False: features are the prompts, and what follows is trained."""
        return False

    def freeze_vision(self) -> None:
        """
        Exclude the image encoder and its adapters from training.

        :raises ValueError: when transformers does not know the image encoder of the model.
        """
        vision = self._transformer.get_encoder(modality='image')
        if vision in (self._transformer, self._transformer.base_model):
            raise ValueError('base: expected a model with an image encoder, got one without')
        vision.requires_grad_(False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the trained weights by name, on the CPU."""
        parameters = dict(self.named_parameters())
        return {name: parameters[name].detach().cpu() for name in self._names}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """
        Load the weights that ``state_dict`` returned; all of them must be present.

        :raises RuntimeError: when names or shapes differ.
        """
        parameters = dict(self.named_parameters())
        if sorted(state_dict) != sorted(self._names):
            different = sorted(set(state_dict) ^ set(self._names))
            raise RuntimeError(
                f'weights: expected {len(self._names)} names, got others: {different[:3]}'
            )
        with torch.no_grad():
            for name, value in state_dict.items():
                if parameters[name].shape != value.shape:
                    expected = tuple(parameters[name].shape)
                    raise RuntimeError(f'{name}: expected {expected}, got {tuple(value.shape)}')
                parameters[name].copy_(value)

    @property
    def _transformer(self) -> Any:
        """The transformers model, with the adapters in its layers."""
        return self.base.get_base_model() if hasattr(self.base, 'get_base_model') else self.base

    def _forward(self, inputs: dict[str, torch.Tensor], keep: int) -> torch.Tensor:
        """Return the logits of the last ``keep`` positions, ``(B, keep, vocabulary)``."""
        with self._gradient_checkpointing():
            return self.base(**inputs, logits_to_keep=keep, use_cache=False).logits

    @contextmanager
    def _gradient_checkpointing(self) -> Iterator[None]:
        """
        Recompute activations in the backward pass, where ``recompute`` is set.

        Transformers does so in layers whose ``training`` flag is set. The flag is set here for the
        layers alone, not for the dropout inside them.
        """
        layers = [m for m in self.base.modules() if isinstance(m, GradientCheckpointingLayer)]
        modes = [layer.training for layer in layers]
        if self.config.options.recompute and torch.is_grad_enabled():
            for layer in layers:
                layer.training = True
        yield
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


class GumbelSampler(LogitsProcessor):
    """
    Samples action tokens during generation, with given noise.

    :ivar tokens: the sampled tokens, one ``(B,)`` int64 for each position so far.
    :ivar logits: their logits, one ``(B, V)`` float32 for each position so far.
    """

    def __init__(self, ids: torch.Tensor, forbidden: torch.Tensor, *, gumbel: torch.Tensor):
        """
        Keep the arguments.

        :param ids: vocabulary ids of the action tokens, ``(V,)`` int64.
        :param forbidden: 0 for the values that a token may have, else ``NEVER``, ``(K, V)``.
        :param gumbel: standard Gumbel noise, ``(B, K, V)`` float32.
        """
        self._ids = ids
        self._forbidden = forbidden
        self._gumbel = gumbel
        self.tokens: list[torch.Tensor] = []
        self.logits: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """
        Sample a token; return scores that leave it as the only choice, ``(B, vocabulary)``.

        :param input_ids: prompt and tokens so far; not used.
        :param scores: logits of the whole vocabulary, ``(B, vocabulary)``.
        """
        k = len(self.tokens)
        self.logits.append(scores[:, self._ids].float().cpu() + self._forbidden[k])
        self.tokens.append((self.logits[k] + self._gumbel[:, k]).argmax(dim=-1))
        sampled = self._ids[self.tokens[k].to(self._ids.device)]
        return torch.full_like(scores, -torch.inf).scatter(1, sampled[:, None], 0.0)


def make_trainable(base: Any, config: VlmModelConfig) -> Any:
    """
    Return a base model with the parts that training changes.

    They are adapters (LoRA) and the embeddings of the tokens for actions and steps-to-go, or all
    weights.
    """
    options = config.options
    if options.recompute:
        base.gradient_checkpointing_enable({'use_reentrant': False})
    if options.tuning == 'full':
        return base.requires_grad_(True)
    from peft import get_peft_model, LoraConfig

    adapters = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # peft divides by the rank anyway
        lora_dropout=options.lora_dropout,
        target_modules='all-linear',
        trainable_token_indices=_trainable_tokens(base, config),
    )
    return get_peft_model(base, adapters)


def _trainable_tokens(base: Any, config: VlmModelConfig) -> dict[str, list[int]]:
    """
    Return the ids of the tokens for actions and steps-to-go, by the name of each embedding layer.

    The layers are input and output embedding; in models with tied embeddings they are one.
    """
    ids = sorted({*config.tokens.action, *config.tokens.steps_to_go})
    inputs = base.get_input_embeddings()
    outputs = base.get_output_embeddings()
    layers = [inputs] if outputs.weight is inputs.weight else [inputs, outputs]
    names = {module: name.rpartition('.')[2] for name, module in base.named_modules()}
    return {names[layer]: ids for layer in layers}


def new_vlm(embodiment: Embodiment, options: VlmConfig, seed: int = 0) -> VlmModel:
    """
    Return a model that is not fine-tuned yet, in evaluation mode.

    :param seed: of the adapters' random weights.
    :raises ValueError: when the folder of the base model holds none, or its tokenizer has too few
        tokens.
    """
    return _assemble(options, hash_folder(options.base), seed, contract_of(embodiment))


def restore_vlm(config: VlmModelConfig) -> VlmModel:
    """
    Return the model of a checkpoint, without its trained weights.

    :raises ValueError: when the folder of the base model does not exist, or holds another model
        than the one that was fine-tuned.
    """
    found = hash_folder(config.options.base)
    if found != config.base_hash:
        raise ValueError(
            f'base: expected the folder with hash {config.base_hash}, got {found} in '
            f'{config.options.base}'
        )
    fields = ('vocabulary', 'steps_to_go_bins', 'cameras', 'proprioception')
    contract = {name: getattr(config, name) for name in fields}
    model = _assemble(config.options, found, 0, contract)
    check_tokens(model.config.tokens, config.tokens)
    return model


def _assemble(options: VlmConfig, base_hash: str, seed: int, contract: dict[str, Any]) -> VlmModel:
    """
    Return a model with random adapters, in evaluation mode.

    :param contract: the fields of ``VlmModelConfig`` that ``contract_of`` returns.
    """
    base, processor = load_base(options)
    rows = base.get_input_embeddings().weight.shape[0]
    source = options.token_source
    actions = max(contract['vocabulary'])
    bins = contract['steps_to_go_bins']
    tokens = choose_tokens(processor.tokenizer, rows, actions, bins, source)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if len(processor.tokenizer) > rows:
            base.resize_token_embeddings(len(processor.tokenizer))
        config = VlmModelConfig(options, base_hash, tokens=tokens, **contract)
        return VlmModel(config, base, processor=processor).eval()
