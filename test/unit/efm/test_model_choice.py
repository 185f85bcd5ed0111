from dataclasses import replace

from efm.model_choice import AUTO, choose_model
from efm_core.embodiment import StepsToGoRange
from models import table_arm
import pytest
from visuomotor import gripper_arm


def choose(embodiment, choice=AUTO, own_encoder=False, options=()):
    chosen = choose_model(choice, embodiment, own_encoder=own_encoder, options=options)
    assert chosen.reason
    return chosen.family


def test_the_simulated_table_gets_the_model_whose_encoder_was_trained_for_it():
    chunks = replace(table_arm().action, chunk=5)
    assert choose(table_arm()) == 'grounding'
    assert choose(table_arm(action=chunks, steps_to_go=StepsToGoRange(20, 21))) == 'grounding'


@pytest.mark.parametrize(
    'robot', [gripper_arm(), table_arm(cameras=(replace(table_arm().cameras[0], width=640),))]
)
def test_a_robot_with_other_images_learns_end_to_end(robot):
    assert choose(robot) == 'visuomotor'


def test_an_encoder_of_the_run_is_used():
    assert choose(gripper_arm(), own_encoder=True) == 'grounding'


def test_an_option_of_the_pretrained_encoder_chooses_its_model():
    assert choose(gripper_arm(), options={'pretrained', 'seed'}) == 'grounding'
    assert choose(gripper_arm(), options={'seed'}) == 'visuomotor'


def test_an_option_of_the_vision_backbone_chooses_its_model():
    assert choose(table_arm(), options={'vision_backbone'}) == 'visuomotor'
    assert choose(table_arm(), 'visuomotor', options={'vision_backbone'}) == 'visuomotor'


@pytest.mark.parametrize(
    ('family', 'options'),
    [
        ('grounding', ['vision_backbone']),
        ('vlm', ['backbone_learning_rate']),
        ('visuomotor', ['pretrained']),
        (AUTO, ['pretrained', 'vision_backbone']),
    ],
)
def test_an_option_of_another_model_is_refused(family, options):
    with pytest.raises(ValueError, match=f'{options[-1]}: expected --model .*, got'):
        choose(table_arm(), family, options=options)


@pytest.mark.parametrize('family', ['grounding', 'visuomotor', 'vlm'])
def test_a_named_family_is_taken(family):
    assert choose(table_arm(), family, own_encoder=True) == family
