from dataclasses import replace
import json

from efm_model.checkpoint import load_checkpoint, save_checkpoint
from efm_model.network import log_probability
from efm_model.vlm.config import VlmConfig
from efm_model.vlm.network import new_vlm
from efm_policy.policy import gumbel
from models import frames, signed_arm, table_arm
import numpy as np
import pytest
import torch
from vlms import base_folder, FAMILIES, options, prompt_inputs

SHORT = 'push it'
LONG = 'push the red cube to the blue cylinder'


@pytest.fixture(scope='module', params=FAMILIES)
def model(request):
    return new_vlm(table_arm(), options(request.param), seed=1)


def noise(count, seed=0, shape=(2, 11)):
    return torch.from_numpy(np.stack([gumbel(seed, step, shape) for step in range(count)]))


def shown(model, *sentences, first=0):
    return prompt_inputs(
        model, frames(2 * len(sentences), first).reshape(-1, 2, 64, 64, 3), sentences
    )


def test_a_sampled_action_has_the_log_probability_of_teacher_forcing(model):
    seen = shown(model, SHORT, LONG, LONG)
    tokens, found, logits = model.sample(seen, noise(3))
    assert tokens.shape == (3, 2)
    with torch.no_grad():
        taught = model.policy_logits(seen, tokens)
    torch.testing.assert_close(logits, taught, rtol=0, atol=1e-5)
    torch.testing.assert_close(found, log_probability(taught, tokens), rtol=0, atol=1e-5)


def test_a_sample_is_the_maximum_of_logits_plus_noise(model):
    seen = shown(model, LONG, LONG)
    drawn = noise(2, seed=3)
    tokens, _, logits = model.sample(seen, drawn)
    assert torch.equal(tokens, (logits + drawn).argmax(dim=-1))
    greedy, _, logits = model.sample(seen, 0 * drawn)
    assert torch.equal(greedy, logits.argmax(dim=-1))


def test_the_logits_of_a_token_do_not_depend_on_later_tokens(model):
    seen = shown(model, LONG)
    with torch.no_grad():
        one, other = (model.policy_logits(seen, torch.tensor([[k, 0]])) for k in (2, 9))
    torch.testing.assert_close(one[:, 0], other[:, 0], rtol=0, atol=1e-6)
    assert (one[:, 1] - other[:, 1]).abs().max() > 1e-5


def test_a_longer_instruction_in_the_batch_does_not_change_the_logits(model):
    both = shown(model, SHORT, LONG)
    alone = shown(model, SHORT)
    tokens = torch.tensor([[3, 4]])
    with torch.no_grad():
        for ask in (
            lambda seen: model.policy_logits(seen, tokens.expand(len(seen.text), -1)),
            model.steps_to_go_logits,
        ):
            torch.testing.assert_close(ask(both)[:1], ask(alone), rtol=0, atol=1e-5)


def test_the_logits_depend_on_both_frames_and_on_the_instruction(model):
    seen = shown(model, LONG)
    others = [
        seen._replace(images=(seen.images[0].flip(1),)),
        seen._replace(images=(seen.images[0][:, :1].expand(-1, 2, -1, -1, -1),)),
        shown(model, SHORT),
    ]
    with torch.no_grad():
        for ask in (
            lambda one: model.policy_logits(one, torch.tensor([[3, 4]])),
            model.steps_to_go_logits,
        ):
            for other in others:
                assert (ask(seen) - ask(other)).abs().max() > 1e-6


def test_actions_and_steps_to_go_have_different_ordinary_tokens(model):
    tokens = model.config.tokens
    tokenizer = model.prompter.tokenizer
    ids = [*tokens.action, *tokens.steps_to_go]
    assert len(set(ids)) == 11 + 61
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.convert_ids_to_tokens(ids) == list(tokens.words)
    said = tokenizer(f'{LONG} Question: what action does the robot take now? Answer:').input_ids
    assert not set(ids) & set(said)


def test_each_position_samples_from_its_own_vocabulary():
    model = new_vlm(signed_arm(), options('smolvlm'))
    assert model.config.vocabulary == (2, 11, 2, 11)
    drawn = noise(40, shape=(4, 11))
    found = [model.sample(shown(model, *[LONG] * 8), part)[0] for part in drawn.split(8)]
    tokens = torch.cat(found)
    assert (tokens[:, [0, 2]] < 2).all()
    assert tokens[:, [1, 3]].max() > 1
    _, probability, logits = model.sample(shown(model, LONG), drawn[:1])
    assert torch.softmax(logits[0, 0], dim=-1)[2:].sum() == 0
    assert probability.isfinite().all()


@pytest.mark.parametrize(('family', 'grows'), [('paligemma', True), ('qwen2_5_vl', False)])
def test_added_tokens_take_spare_rows_first(family, grows):
    model = new_vlm(table_arm(), options(family, token_source='added'))
    rows = model._transformer.get_input_embeddings().weight.shape[0]
    assert model.config.tokens.words[:2] == ('<action_0>', '<action_1>')
    before = json.loads((base_folder(family) / 'config.json').read_text())['text_config']
    assert (rows > before['vocab_size']) == grows
    tokens, _, _ = model.sample(shown(model, LONG), noise(1))
    assert tokens.max() < 11


def test_with_bfloat16_logits_and_adapters_are_float32():
    model = new_vlm(table_arm(), options('smolvlm', precision='bfloat16'))
    seen = shown(model, SHORT, LONG)
    tokens, found, logits = model.sample(seen, noise(2))
    assert logits.dtype == found.dtype == torch.float32
    taught = model.policy_logits(seen, tokens)
    assert (log_probability(taught, tokens) - found).abs().max() < 0.05
    taught.sum().backward()
    adapters = [p for n, p in model.named_parameters() if 'lora_' in n]
    assert {p.dtype for p in adapters} == {torch.float32}
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in adapters)


@pytest.mark.parametrize('family', FAMILIES)
def test_recomputed_activations_give_the_same_gradient(family):
    gradients = []
    for recompute in (False, True):
        model = new_vlm(table_arm(), options(family, recompute=recompute), seed=2)
        model.policy_logits(shown(model, LONG), torch.tensor([[3, 4]])).square().mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        tokens, _, _ = model.sample(shown(model, LONG), noise(1))
        assert tokens.shape == (1, 2)
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-7)


def test_a_checkpoint_holds_only_the_adapters_and_restores_the_model(model, tmp_path):
    with torch.no_grad():
        for index, value in enumerate(model.state_dict().values()):
            value.add_(0.01 * (index + 1))  # the very memory of the model, on a CPU
    directory = save_checkpoint(tmp_path / 'policy', model, table_arm(), 'policy', 3)
    assert sorted(p.name for p in directory.iterdir()) == ['config.json', 'weights.safetensors']
    assert all('lora_' in n or 'trainable_tokens' in n for n in model.state_dict())
    loaded, card = load_checkpoint(directory, table_arm())
    assert (card['family'], loaded.config) == ('vlm', model.config)
    seen = shown(model, LONG, SHORT)
    assert torch.equal(loaded.sample(seen, noise(2))[2], model.sample(seen, noise(2))[2])
    assert torch.equal(loaded.steps_to_go_logits(seen), model.steps_to_go_logits(seen))


def test_a_checkpoint_after_full_fine_tuning_restores_the_model(tmp_path):
    model = new_vlm(table_arm(), options('paligemma', tuning='full'))
    with torch.no_grad():
        for value in model.state_dict().values():
            value.mul_(1.1)
    directory = save_checkpoint(tmp_path / 'policy', model, table_arm(), 'policy', 3)
    loaded, _ = load_checkpoint(directory, table_arm())
    seen = shown(model, LONG)
    assert torch.equal(loaded.sample(seen, noise(1))[2], model.sample(seen, noise(1))[2])


def saved(tmp_path):
    model = new_vlm(table_arm(), options('smolvlm'))
    return save_checkpoint(tmp_path / 'policy', model, table_arm(), 'policy', 1)


def change_card(directory, change):
    card = json.loads((directory / 'config.json').read_text())
    change(card['model'])
    (directory / 'config.json').write_text(json.dumps(card))


def test_another_embodiment_is_refused(tmp_path):
    with pytest.raises(ValueError, match='expected embodiment'):
        load_checkpoint(saved(tmp_path), replace(table_arm(), name='other'))


def test_another_base_model_is_refused(tmp_path):
    directory = saved(tmp_path)
    with pytest.raises(ValueError, match='expected the folder with hash'):
        load_checkpoint(directory, table_arm(), base=str(base_folder('idefics3')))


def test_a_base_model_may_have_moved(tmp_path):
    directory = saved(tmp_path)
    here = str(base_folder('smolvlm'))
    change_card(directory, lambda card: card['options'].update(base='nowhere'))
    with pytest.raises(ValueError, match='got nowhere'):
        load_checkpoint(directory, table_arm())
    assert load_checkpoint(directory, table_arm(), base=here)[0].config.options.base == here


def test_a_checkpoint_with_other_token_ids_is_refused(tmp_path):
    directory = saved(tmp_path)
    change_card(directory, lambda card: card['tokens']['action'].reverse())
    with pytest.raises(ValueError, match='expected the ids of the checkpoint'):
        load_checkpoint(directory, table_arm())


def test_a_torn_checkpoint_is_refused(tmp_path):
    weights = saved(tmp_path) / 'weights.safetensors'
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match='expected a whole one'):
        load_checkpoint(weights.parent, table_arm())


@pytest.mark.parametrize('folder', ['', 'nowhere'])
def test_a_folder_without_a_model_is_refused(folder):
    with pytest.raises(ValueError, match='expected a folder with a transformers model'):
        new_vlm(table_arm(), VlmConfig(base=folder))


def test_a_model_without_image_input_is_refused(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"image-text-to-text .* got 'bert'"):
        new_vlm(table_arm(), VlmConfig(base=str(tmp_path)))


def test_a_folder_without_weights_is_refused(tmp_path):
    for path in base_folder('smolvlm').iterdir():
        if path.suffix != '.safetensors':
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r'expected model\.safetensors and a processor'):
        new_vlm(table_arm(), VlmConfig(base=str(tmp_path)))


def test_a_tokenizer_with_too_few_tokens_is_refused_with_the_option_to_use():
    space = replace(table_arm().action, bins=401)
    with pytest.raises(ValueError, match=r'ordinary tokens.*--token-source added'):
        new_vlm(replace(table_arm(), action=space), options('smolvlm'))
