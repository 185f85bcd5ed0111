from dataclasses import replace

from efm_model.vlm.estimate import (
    activation_bytes,
    BACKBONES,
    estimate,
    GPUS,
    prompt_flops,
    table,
    Transformer,
)
import pytest
import torch
import transformers

PALIGEMMA, SMOLVLM, QWEN = BACKBONES


def text(backbone, heads):
    transformer = backbone.text
    return {
        'hidden_size': transformer.hidden_size,
        'intermediate_size': transformer.mlp,
        'num_hidden_layers': transformer.layers,
        'num_attention_heads': heads,
        'num_key_value_heads': heads * transformer.kv_width // transformer.q_width,
        'head_dim': transformer.q_width // heads,
        'vocab_size': backbone.vocabulary,
    }


def siglip(size):
    return {
        'hidden_size': 1152,
        'intermediate_size': 4304,
        'num_hidden_layers': 27,
        'num_attention_heads': 16,
        'image_size': size,
        'patch_size': 14,
    }


def paligemma():
    return transformers.PaliGemmaConfig(
        text_config={'model_type': 'gemma', **text(PALIGEMMA, 8)},
        vision_config={
            'model_type': 'siglip_vision_model',
            'vision_use_head': False,
            'projection_dim': 2048,
            **siglip(224),
        },
        projection_dim=2048,
    )


def smolvlm():
    return transformers.Idefics3Config(
        text_config={'model_type': 'llama', 'pad_token_id': 2, **text(SMOLVLM, 32)},
        vision_config=siglip(384),
        scale_factor=3,
        tie_word_embeddings=False,
    )


def qwen():
    words = {key: value for key, value in text(QWEN, 16).items() if key != 'head_dim'}
    return transformers.Qwen2_5_VLConfig(
        text_config={'bos_token_id': None, 'eos_token_id': None, **words},
        vision_config={
            'hidden_size': 1280,
            'intermediate_size': 3420,
            'depth': 32,
            'num_heads': 16,
            'out_hidden_size': 2048,
        },
        tie_word_embeddings=True,
    )


@pytest.mark.parametrize(
    ('backbone', 'config', 'public'),
    [(PALIGEMMA, paligemma, 2.92e9), (SMOLVLM, smolvlm, 2.25e9), (QWEN, qwen, 3.75e9)],
)
def test_the_number_of_weights_is_that_of_the_transformers_class(backbone, config, public):
    with torch.device('meta'):
        model = transformers.AutoModelForImageTextToText.from_config(config())
    real = sum(parameter.numel() for parameter in model.parameters())
    assert backbone.parameters == pytest.approx(real, rel=0.003)
    assert backbone.parameters == pytest.approx(public, rel=0.005)


def test_the_weights_of_a_transformer_are_those_of_its_matrices():
    transformer = Transformer(layers=2, hidden_size=4, mlp=8, q_width=4, kv_width=2, gated=True)
    assert transformer.parameters == 2 * (16 + 16 + 8 + 8 + 3 * 32)
    assert transformer.adapters(rank=1) == 2 * (8 + 8 + 6 + 6 + 3 * 12)


def test_weights_alone_are_two_bytes_each_and_practice_has_them_twice():
    for backbone in BACKBONES:
        found = estimate(backbone, GPUS[0])
        weights = 2 * backbone.parameters / 1e9
        assert found.practice_gb - found.training_gb == pytest.approx(weights)
        assert weights < found.acting_gb < found.training_gb


def test_larger_batches_need_more_memory_and_a_faster_gpu_needs_less_time():
    small, large = (estimate(PALIGEMMA, GPUS[0], max_batch_size=n) for n in (1, 9))
    assert large.training_gb - small.training_gb == pytest.approx(
        8 * activation_bytes(PALIGEMMA) / 1e9
    )
    fast = estimate(PALIGEMMA, replace(GPUS[0], flops=2 * GPUS[0].flops))
    assert fast.samples_per_s == pytest.approx(2 * small.samples_per_s)


def test_arithmetic_is_at_least_two_operations_a_weight_and_token():
    text_tokens = 2 * 256 + 40 + 2
    least = 2 * PALIGEMMA.text.parameters * text_tokens
    least += 2 * PALIGEMMA.vision.parameters * 2 * 256
    assert least < prompt_flops(PALIGEMMA) < 1.1 * least


def test_the_table_has_a_row_for_each_model_and_gpu():
    assert len(table().splitlines()) == 2 + len(BACKBONES) * len(GPUS)
