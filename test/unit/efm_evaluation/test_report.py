from html.parser import HTMLParser
import json

from bags import make_episode, write_bag
import cv2
from efm_core.episode import Kind, Outcome, Termination
from efm_data.labels import Label, LabelFile
from efm_evaluation.metrics import Proportion
from efm_evaluation.page import duration, percent
from efm_evaluation.plots import moving_average
from efm_evaluation.report import are_disjoint, describe_success, write_report
import numpy as np
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()


def put(run, stage, kind, successes, failures):
    """Write bags of episodes that fired and were right, then of episodes that timed out."""
    folder = run / 'episodes' / stage
    folder.mkdir(parents=True)
    for index in range(successes + failures):
        success = index < successes
        truth = np.zeros(9, bool)
        truth[-1] = success
        episode = make_episode(
            EMBODIMENT,
            index,
            8,
            kind=kind,
            true_success=success,
            true_success_per_step=truth,
            outcome=Outcome.SUCCESS if success else Outcome.FAILURE,
            termination=Termination.SUCCESS_DETECTED if success else Termination.TIMEOUT,
            steps_to_go=np.array([20, 17, 14, 11, 8, 5, 3, 1, 1], np.float32) + 9 * (not success),
        )
        write_bag(episode, folder / f'{index:06d}')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return a run directory with a report, a torn bag and an awkward name."""
    run = tmp_path_factory.mktemp('run')
    put(run, 'evaluation_before', Kind.EVALUATION, 1, 7)
    put(run, 'practice', Kind.PRACTICE, 3, 3)
    put(run, 'evaluation_after', Kind.EVALUATION, 8, 0)
    fault = {'outcome': Outcome.UNLABELLED, 'termination': Termination.FAULT}
    for index in (90, 91):
        broken = make_episode(EMBODIMENT, index, 8, kind=Kind.EVALUATION, **fault)
        write_bag(broken, run / 'episodes' / 'evaluation_after' / f'{index:06d}')
    torn = run / 'episodes' / 'practice' / '999999'
    torn.mkdir()
    (torn / 'empty.mcap').write_bytes(b'')
    (run / 'episodes' / 'demonstration' / '000000').mkdir(parents=True)
    (run / 'stages.json').write_text(json.dumps({'<b>1</b>': 31.2, 'practice': 90.0}))
    write_report(run, EMBODIMENT)
    return run


@pytest.fixture(scope='module')
def summary(run):
    return json.loads((run / 'summary.json').read_text())


class Page(HTMLParser):
    """Counts elements, and keeps every address the page asks for."""

    def __init__(self, text):
        super().__init__()
        self.count = {}
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.addresses += [value for name, value in attrs if name in ('src', 'href')]


def test_the_summary_counts_what_the_bags_say(summary):
    for measure in ('reached', 'self_stopped'):
        counts = [summary[f'success_{word}'][measure] for word in ('before', 'after')]
        assert [(one['successes'], one['episodes']) for one in counts] == [(1, 8), (8, 8)]
    assert summary['success_before']['at_last_observation'] == 1
    assert summary['success_before']['mean_steps'] == 8
    assert (summary['episodes_demonstrated'], summary['episodes_practised']) == (1, 6)
    assert summary['intervals_are_disjoint'] is True
    assert summary['wall_clock_s'] == {'<b>1</b>': 31.2, 'practice': 90.0}
    assert (summary['detector']['precision'], summary['detector']['recall']) == (1, 1)
    assert summary['detector']['per_episode']['practice']['true_negatives'] == 3
    assert summary['detector']['per_frame']['evaluation_after']['true_positives'] == 8
    assert summary['embodiment']['hash'] == EMBODIMENT.hash
    assert {'python', 'numpy', 'torch'} <= summary['versions'].keys()


def test_both_measures_are_printed_for_each_evaluation(summary):
    assert describe_success(summary) == [
        'before practice: self-stopped 1 of 8 (12 % [2, 47]), reached 1 of 8 (12 % [2, 47]), '
        '8.0 steps',
        'after practice: self-stopped 8 of 8 (100 % [68, 100]), reached 8 of 8 (100 % [68, 100]), '
        '8.0 steps',
    ]


def test_faults_are_counted_apart_from_failures(summary):
    assert summary['void_episodes'] == 2
    assert summary['success_after']['reached']['episodes'] == 8


def test_an_unreadable_bag_is_counted_and_the_rest_is_reported(summary):
    assert summary['unreadable_bags'] == 1


def test_the_page_holds_its_pictures_itself(run):
    page = Page((run / 'report.html').read_text())
    assert page.count['img'] == 4
    assert all(address.startswith('data:image/png;base64,') for address in page.addresses)


def test_a_name_cannot_break_the_page(run):
    page = Page((run / 'report.html').read_text())
    assert page.count['b'] == 6  # the headline figures and nothing else


def test_every_picture_is_also_a_file(run):
    pictures = {path.stem: cv2.imread(str(path)) for path in (run / 'pictures').glob('*.png')}
    assert pictures.keys() == {'success', 'learning', 'traces', 'wall_clock'}
    assert all(picture.std() > 1 for picture in pictures.values())


def test_an_empty_run_has_a_report_too(tmp_path):
    page = Page(write_report(tmp_path, EMBODIMENT).read_text())
    assert 'img' not in page.count
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['success_before']['reached']['rate'] is None
    assert summary['intervals_are_disjoint'] is False
    assert describe_success(summary) == []


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        write_report(tmp_path / 'nowhere', EMBODIMENT)


def test_intervals_are_disjoint_only_upwards():
    assert are_disjoint(Proportion(80, 200), Proportion(180, 200))
    assert not are_disjoint(Proportion(180, 200), Proportion(80, 200))
    assert not are_disjoint(Proportion(100, 200), Proportion(105, 200))


def test_the_moving_average_starts_with_fewer_values():
    assert moving_average([1, 3, 5, 7], window=2).tolist() == [1, 2, 4, 6]


def test_labels_and_their_minutes_are_reported(tmp_path):
    put(tmp_path, 'evaluation_before', Kind.EVALUATION, 1, 1)
    stopped = {'outcome': Outcome.FAILURE, 'termination': Termination.STOPPED}
    ended = make_episode(EMBODIMENT, 7, 8, kind=Kind.EVALUATION, **stopped)
    write_bag(ended, tmp_path / 'episodes' / 'evaluation_before' / '000007')
    for index, at in enumerate((8, None)):
        label = Label('evaluation_before', f'episode-{index}', success_at=at, seconds=15)
        LabelFile(tmp_path).append(label)
    page = write_report(tmp_path, EMBODIMENT).read_text()
    labels = json.loads((tmp_path / 'summary.json').read_text())['labels']
    assert labels == {'labelled': 3, 'successes': 1, 'by_operator': 1, 'minutes': 0.5}
    assert '<td>3 (1 success), 0.5 minutes</td>' in page
    assert '<h1>Practice with 3 labels</h1>' in page


def test_figures_are_written_for_people():
    assert (percent(0.456), percent(None)) == ('46 %', 'n/a')
    assert (duration(59.6), duration(61), duration(8)) == ('1 min 00 s', '1 min 01 s', '8 s')
