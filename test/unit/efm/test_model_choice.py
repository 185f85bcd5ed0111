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


@pytest.mark.parametrize('family', ['grounding', 'visuomotor', 'vlm'])
def test_a_named_family_is_taken(family):
    assert choose(table_arm(), family, own_encoder=True) == family
