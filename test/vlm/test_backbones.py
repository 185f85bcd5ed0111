"""The visuomotor model on tiny pretrained backbones of the real classes, with random weights."""

from __future__ import annotations

from dataclasses import replace
import functools
import json
from pathlib import Path
import shutil
import tempfile

from bags import write_bag
from efm.cli import main
from efm_model import backbone, efficientnet
from efm_model.backbone import Backbone, read_backbone
from efm_model.checkpoint import load_checkpoint, save_checkpoint
from efm_model.config import BackboneConfig
from efm_model.export import example_inputs, export_policy, export_reward, parity
from efm_model.visuomotor import CAMERA_FEATURES, new_visuomotor
from efm_trainer.config import PRESETS, STAGE_ONE
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
from models import table_arm
from optional import needs_efficientnet
import pytest
from releases import assert_release_acts
import torch
from trainer_fakes import demonstrations, FakeTextEncoder
import transformers
from visuomotor import gripper_arm, noise_episode

transformers.logging.disable_progress_bar()

ROBOT = gripper_arm()
SCENE, WRIST = ROBOT.cameras
WIDE = gripper_arm(cameras=(SCENE, replace(WRIST, size=(16, 40))))
ENCODER = FakeTextEncoder()
CONFIG = replace(
    STAGE_ONE['visuomotor'], iterations=3, batch_size=9, validate_every=3, hidden_size=16
)
LAYERS = {'hidden_size': 16, 'num_hidden_layers': 2, 'num_attention_heads': 2}
TINY = {
    'dinov2': lambda: transformers.Dinov2Model(
        transformers.Dinov2Config(**LAYERS, image_size=28, patch_size=7)
    ),
    'siglip': lambda: transformers.SiglipVisionModel(
        transformers.SiglipVisionConfig(
            **LAYERS, intermediate_size=32, image_size=16, patch_size=8
        )
    ),
    'resnet': lambda: transformers.ResNetModel(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 24], depths=[1] * 4, layer_type='basic'
        )
    ),
}
CHANNELS = 16


@functools.cache
def saved(name: str) -> Path:
    """Return a folder with a tiny backbone, made once in a test run."""
    folder = Path(tempfile.mkdtemp()) / name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        TINY[name]().save_pretrained(folder)
    return folder


def source_of(name: str) -> str:
    return name if name == efficientnet.NAME else str(saved(name))


@pytest.fixture(params=[*TINY, pytest.param(efficientnet.NAME, marks=needs_efficientnet)])
def source(request):
    return source_of(request.param)


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the folder of the DINOv2, which a test may change."""
    return Path(shutil.copytree(saved('dinov2'), tmp_path / 'copy'))


def change(path: Path, **values) -> None:
    plain = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**plain, **values}))


def inputs_of(model, count=2):
    found = example_inputs(model, 'reward', count)
    return {name: torch.from_numpy(value) for name, value in found.items()}


def episodes(robot=ROBOT):
    return [noise_episode(robot, index, 3 + index) for index in range(3)]


@pytest.mark.parametrize(
    ('name', 'size', 'expected'),
    [
        ('dinov2', (24, 24), (3, 3)),  # resized to 21 px, patches of 7 px
        ('dinov2', (28, 42), (4, 6)),
        ('siglip', (24, 40), (3, 5)),
        ('siglip', (3, 3), (1, 1)),
        ('resnet', (24, 40), (2, 3)),  # 16 px a cell
        pytest.param(efficientnet.NAME, (24, 40), (2, 2), marks=needs_efficientnet),  # 32 x 32 px
    ],
)
def test_a_map_has_a_cell_for_each_patch(name, size, expected):
    network = Backbone(read_backbone(source_of(name))[0])
    channels, *cells = network.map_shape(size)
    assert tuple(cells) == expected
    frames = torch.zeros(3, 2, *size, 3, dtype=torch.uint8)
    assert network(frames).shape == (3, 2 * channels, *expected)


@torch.no_grad()
@pytest.mark.parametrize('name', TINY)
def test_the_maps_are_those_of_the_class_that_was_saved(name):
    config, weights = read_backbone(source_of(name))
    network = Backbone(config)
    network.network.load_state_dict(weights)
    frames = torch.randint(0, 256, (2, 2, 56, 56, 3), dtype=torch.uint8)
    found = network(frames)
    whole = type(TINY[name]()).from_pretrained(saved(name)).eval()
    mean, deviation = (
        torch.tensor(values)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    pixels = (frames[:, 1].permute(0, 3, 1, 2) / 255 - mean) / deviation
    if name == 'resnet':
        expected = whole(pixels, output_hidden_states=True).hidden_states[3]
    elif name == 'siglip':
        states = whole(pixels, interpolate_pos_encoding=True).last_hidden_state
        expected = states.transpose(1, 2).reshape(2, CHANNELS, 7, 7)
    else:
        states = whole(pixels).last_hidden_state[:, 1:]  # the class token comes first
        expected = states.transpose(1, 2).reshape(2, CHANNELS, 8, 8)
    torch.testing.assert_close(found[:, CHANNELS:], expected, atol=1e-5, rtol=1e-4)


def test_no_weight_is_kept_that_no_feature_map_needs(source):
    model = new_visuomotor(ROBOT, vision_backbone=source)
    model.features(inputs_of(model)).square().sum().backward()
    idle = [name for name, p in model.encoder.backbone.named_parameters() if p.grad is None]
    assert not idle


def test_every_camera_and_frame_changes_the_features(source):
    model = new_visuomotor(WIDE, vision_backbone=source)
    inputs = inputs_of(model)
    features = model.features(inputs)
    assert features.shape == (2, 2 * CAMERA_FEATURES + 2 * 3)
    for name in ('observations', 'observations_1'):
        for frame in range(2):
            other = {**inputs, name: inputs[name].clone()}
            other[name][:, frame] = 255 - other[name][:, frame]
            assert (model.features(other) - features).abs().max() > 1e-4


def test_scene_features_are_those_of_a_frame_that_stands_still():
    model = new_visuomotor(ROBOT, vision_backbone=source_of('siglip'))
    frames = torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8)
    maps = model.encoder.images(torch.stack([frames, frames], dim=1))
    expected = model.encoder.cameras['scene_24x24'](maps, None)
    torch.testing.assert_close(model.scene_features(frames), expected)


def test_a_backbone_stays_in_evaluation_mode():
    model = new_visuomotor(ROBOT, vision_backbone=source_of('resnet')).train()
    assert model.trunk.training
    before = {name: value.clone() for name, value in model.encoder.backbone.state_dict().items()}
    model.features(inputs_of(model))
    for name, value in model.encoder.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_pixels_have_the_statistics_of_imagenet_without_a_preprocessor(copy):
    config, _ = read_backbone(str(copy))
    assert config.mean == pytest.approx((123.675, 116.28, 103.53))
    assert config.deviation == pytest.approx((58.395, 57.12, 57.375))


@pytest.mark.parametrize(
    ('preprocessor', 'mean', 'deviation'),
    [
        ({'image_mean': [0.5] * 3, 'image_std': [0.25] * 3}, 127.5, 63.75),
        ({'rescale_factor': 1 / 127.5, 'image_mean': [1] * 3, 'image_std': [1] * 3}, 127.5, 127.5),
        ({'do_rescale': False, 'image_mean': [120] * 3, 'image_std': [60] * 3}, 120, 60),
        ({'do_normalize': False}, 0, 255),
    ],
)
def test_pixels_have_the_statistics_of_the_preprocessor(copy, preprocessor, mean, deviation):
    change(copy / 'preprocessor_config.json', **preprocessor)
    config, _ = read_backbone(str(copy))
    assert config.mean == pytest.approx((mean,) * 3)
    assert config.deviation == pytest.approx((deviation,) * 3)


def test_the_statistics_are_those_of_the_image_processor_of_transformers(copy):
    processor = transformers.SiglipImageProcessorPil(size={'height': 28, 'width': 28})
    processor.save_pretrained(copy)
    picture = torch.randint(0, 256, (28, 28, 3), dtype=torch.uint8)
    expected = processor(picture.numpy(), return_tensors='pt')['pixel_values']
    network = Backbone(read_backbone(str(copy))[0])
    seen = []
    network._maps = lambda pixels: seen.append(pixels) or torch.zeros(1, 1, 1, 1)
    network(picture[None, None])
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=0)


def test_the_image_encoder_of_a_whole_siglip_is_taken(tmp_path):
    vision = TINY['siglip']().config.to_dict()
    text = {**LAYERS, 'intermediate_size': 32, 'vocab_size': 9, 'max_position_embeddings': 8}
    whole = transformers.SiglipModel(
        transformers.SiglipConfig(vision_config=vision, text_config=text)
    )
    whole.save_pretrained(tmp_path)
    config, weights = read_backbone(str(tmp_path))
    assert config == read_backbone(source_of('siglip'))[0]
    expected = whole.vision_model.state_dict()
    assert len(weights) > 10
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


def test_a_classifier_is_taken_without_its_head(tmp_path):
    config = TINY['resnet']().config
    config.num_labels = 7
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    assert read_backbone(str(tmp_path))[0] == read_backbone(source_of('resnet'))[0]


def test_a_folder_of_an_earlier_version_in_half_precision_gives_the_same_backbone(copy):
    expected, _ = read_backbone(str(copy))
    TINY['dinov2']().half().save_pretrained(copy)
    change(copy / 'config.json', torch_dtype='float16', _name_or_path='elsewhere/dinov2')
    found, weights = read_backbone(str(copy))
    assert found == expected
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_the_cameras_share_one_backbone_and_each_has_its_readouts():
    model = new_visuomotor(WIDE, vision_backbone=source_of('dinov2'))
    names = {name.split('.')[1] for name, _ in model.encoder.named_parameters() if '.' in name}
    assert {'scene_24x24', 'wrist_16x40', 'network'} <= names
    assert len(model.encoder.cameras) == 2


def test_a_checkpoint_holds_the_backbone_and_needs_no_folder(source, tmp_path, monkeypatch):
    model = new_visuomotor(WIDE, seed=3, vision_backbone=source)
    directory = save_checkpoint(tmp_path / 'policy', model, WIDE, 'policy', 1)
    monkeypatch.setattr(backbone, 'read_backbone', None)
    monkeypatch.setattr(transformers.PreTrainedModel, 'from_pretrained', None)
    loaded, card = load_checkpoint(directory, WIDE)
    assert source not in json.dumps(card) or source == efficientnet.NAME
    assert loaded.config == model.config
    inputs = inputs_of(model)
    assert torch.equal(loaded.features(inputs), model.features(inputs))


def test_a_checkpoint_without_a_backbone_loads_as_before(tmp_path):
    directory = save_checkpoint(tmp_path / 'policy', new_visuomotor(ROBOT), ROBOT, 'policy', 1)
    card = json.loads((directory / 'config.json').read_text())
    assert card['model'].pop('backbone') is None
    (directory / 'config.json').write_text(json.dumps(card))
    assert load_checkpoint(directory, ROBOT)[0].config == new_visuomotor(ROBOT).config


def test_an_exported_file_passes_the_parity_test(source, tmp_path):
    model = new_visuomotor(WIDE, seed=3, vision_backbone=source)
    policy = export_policy(model, tmp_path / 'policy.onnx', WIDE, 1)
    assert parity(model, policy, WIDE).passed
    with torch.no_grad():
        for weight in model.encoder.backbone.parameters():
            weight.mul_(1.5)
    assert not parity(model, policy, WIDE).passed


def test_an_exported_reward_model_passes_the_parity_test(source, tmp_path):
    model = new_visuomotor(WIDE, seed=3, vision_backbone=source)
    reward = export_reward(model, tmp_path / 'reward.onnx', WIDE, 1)
    assert parity(model, reward, WIDE, 'reward').passed


def moved(model, other) -> set[str]:
    """Return the names of the weights that differ between two models."""
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    return {name for (name, one), two in pairs if not torch.equal(one, two)}


@pytest.mark.parametrize('rate', [1e-4, 0.0])
def test_both_stages_learn(source, tmp_path, rate):
    config = replace(CONFIG, vision_backbone=source, backbone_learning_rate=rate)
    fine_tune(episodes(), ROBOT, ENCODER, config, tmp_path, family='visuomotor')
    policy, reward = (load_checkpoint(tmp_path / kind, ROBOT)[0] for kind in ('policy', 'reward'))
    fresh = new_visuomotor(
        ROBOT, config.seed, policy.config.pieces, config.vision_backbone, hidden_size=16
    )
    changed = moved(policy, fresh)
    pretrained = {name for name, _ in fresh.named_parameters() if '.backbone.' in name}
    assert changed & pretrained == (pretrained if rate else set())
    assert changed - pretrained == {n for n, _ in fresh.named_parameters()} - pretrained

    learner = Reinforce(
        policy,
        reward,
        text_encoder=ENCODER,
        scale=ROBOT.steps_to_go,
        config=replace(PRESETS['default'], batch_size=5),
    )
    before = {name: value.clone() for name, value in learner.policy.state_dict().items()}
    assert learner.prepare(episodes()).features is not None  # computed once for each update
    learner.update(episodes())
    after = learner.policy.state_dict()
    updated = {name.split('.')[0] for name in before if not torch.equal(before[name], after[name])}
    assert updated == {'trunk', 'policy'}


def test_the_backbone_has_a_learning_rate_of_its_own(tmp_path):
    config = replace(
        CONFIG,
        weight_decay=0.0,
        vision_backbone=source_of('dinov2'),
        learning_rate=1e-2,
        backbone_learning_rate=1e-4,
    )
    fine_tune(episodes(), ROBOT, ENCODER, config, tmp_path, family='visuomotor')
    policy, _ = load_checkpoint(tmp_path / 'policy', ROBOT)
    fresh = new_visuomotor(
        ROBOT, config.seed, policy.config.pieces, config.vision_backbone, hidden_size=16
    )
    pairs = zip(policy.named_parameters(), fresh.parameters(), strict=True)
    ways = {name: float((one - other).detach().abs().max()) for (name, one), other in pairs}
    own = max(way for name, way in ways.items() if '.backbone.' in name)
    others = max(way for name, way in ways.items() if '.backbone.' not in name)
    # The steps of Adam are about as long as the learning rate, whatever the gradient.
    assert own / others == pytest.approx(1e-2, rel=0.3)


@pytest.mark.parametrize(
    ('remove', 'expected'),
    [
        ('config.json', 'expected .*config.json, got no such file'),
        ('model.safetensors', 'expected .*model.safetensors, got no such file.*not read'),
    ],
)
def test_a_missing_file_is_named(copy, remove, expected):
    (copy / remove).unlink()
    with pytest.raises(FileNotFoundError, match=expected):
        read_backbone(str(copy))


def test_pickled_weights_are_refused(copy):
    (copy / 'model.safetensors').rename(copy / 'pytorch_model.bin')
    with pytest.raises(FileNotFoundError, match='pickled weights'):
        read_backbone(str(copy))


def spoil_json(folder):
    (folder / 'config.json').write_text('{')


def spoil_weights(folder):
    whole = (folder / 'model.safetensors').read_bytes()
    (folder / 'model.safetensors').write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (spoil_json, 'expected JSON in .*config.json'),
        (spoil_weights, 'expected the weights of dinov2'),
        (
            lambda folder: change(folder / 'config.json', model_type='bert'),
            "one of dinov2, siglip_vision_model, resnet, got 'bert'",
        ),
        (lambda folder: change(folder / 'config.json', hidden_size='wide'), 'hidden_size'),
        (lambda folder: change(folder / 'config.json', num_channels=1), '3, for RGB, got 1'),
        (
            lambda folder: change(folder / 'config.json', num_hidden_layers=3),
            r'all weights of dinov2, got none for \d+',
        ),
        (lambda folder: change(folder / 'config.json', mlp_ratio=2), 'expected the weights of'),
        (
            lambda folder: change(folder / 'preprocessor_config.json', image_mean=[0.5]),
            'three values of image_mean',
        ),
    ],
)
def test_a_folder_that_holds_no_such_backbone_is_refused(copy, spoil, expected):
    spoil(copy)
    with pytest.raises(ValueError, match=expected):
        read_backbone(str(copy))


def test_an_unknown_network_in_a_card_is_refused():
    config = BackboneConfig(model_type='bert', settings={}, mean=(0.0,) * 3, deviation=(1.0,) * 3)
    with pytest.raises(ValueError, match=r'expected dinov2 or .*, got bert'):
        Backbone(config)


def test_the_packages_of_efficientnet_are_named_where_they_are_missing(monkeypatch):
    monkeypatch.setattr(efficientnet, 'is_installed', lambda: False)
    with pytest.raises(ModuleNotFoundError, match='make imagenet'):
        read_backbone(efficientnet.NAME)


@pytest.fixture
def run(tmp_path):
    """Return a run with three demonstrations."""
    folder = tmp_path / 'run' / 'episodes' / 'demonstration'
    folder.mkdir(parents=True)
    for index, episode in enumerate(demonstrations(table_arm(), 3)):
        write_bag(episode, folder / f'{index:06d}')
    return tmp_path / 'run'


def train(run, *words):
    """Run `efm train`; return its exit code."""
    with pytest.raises(SystemExit) as done:
        main(['train', '--run', str(run), '--iterations', '2', '--batch-size', '6', *words])
    return done.value.code


def test_efm_train_makes_a_release_that_acts_with_the_backbone(run, capsys):
    assert train(run, '--vision-backbone', source_of('resnet')) == 0, capsys.readouterr().err
    assert 'visuomotor; only this model has the option vision_backbone' in capsys.readouterr().out
    assert_release_acts(run)


def test_efm_train_reports_a_missing_backbone_and_leaves_no_checkpoint(run, capsys):
    assert train(run, '--vision-backbone', 'nowhere') == 1
    assert 'vision_backbone: expected nowhere/config.json' in capsys.readouterr().err
    assert not (run / 'sft').exists()
    assert train(run, '--vision-backbone', 'nowhere', '--model', 'grounding') == 1
    assert 'vision_backbone: expected --model visuomotor' in capsys.readouterr().err
