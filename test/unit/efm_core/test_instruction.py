"""Which text can be an instruction."""

from efm_core.instruction import check_instruction
import pytest


@pytest.mark.parametrize('sentence', ['pour espresso', 'déplace le café', 'go to A-113', 'ok'])
def test_latin_letters_are_an_instruction(sentence):
    check_instruction(sentence)


@pytest.mark.parametrize(
    ('sentence', 'said'),
    [
        ('', 'expected a sentence'),
        (' ', 'expected a sentence'),
        ('123', 'in Latin letters'),
        ('把红色方块推到蓝色圆柱', 'in Latin letters'),
        ('подвинь красный куб', 'in Latin letters'),
        ('push\x00it', 'printable'),
        ('a\nb', 'printable'),
        ('a' * 501, 'at most 500 characters, got 501'),
    ],
)
def test_other_text_is_none_and_the_error_says_why(sentence, said):
    with pytest.raises(ValueError, match=said):
        check_instruction(sentence)


def test_a_robot_of_another_language_has_its_script():
    check_instruction('подвинь красный куб', 'ru')
