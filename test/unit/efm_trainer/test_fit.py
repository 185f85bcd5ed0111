from efm_trainer.fit import find_doubts


def point(action=(2.0, 2.5), steps=(1.0, 1.2)):
    return {
        'training/action': action[0],
        'validation/action': action[1],
        'training/steps_to_go': steps[0],
        'validation/steps_to_go': steps[1],
    }


def test_enough_demonstrations_with_similar_losses_raise_no_doubt():
    assert find_doubts([point()] * 4, 100) == []


def test_few_demonstrations_are_named():
    (doubt,) = find_doubts([point()], 49)
    assert doubt.startswith('49 training demonstrations are few')


def test_a_held_out_loss_far_above_the_training_loss_is_named():
    (doubt,) = find_doubts([point(), point(action=(2.0, 4.1))] + [point(action=(2, 4.1))] * 2, 80)
    assert 'actions: the loss on held-out demonstrations is 4.1' in doubt
    (doubt,) = find_doubts([point(steps=(1.0, 3.2))], 80)
    assert doubt.startswith('steps-to-go')


def test_the_last_three_validations_count():
    curve = [point(action=(2.0, 9.0))] + [point()] * 3
    assert find_doubts(curve, 80) == []
