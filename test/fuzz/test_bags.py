"""
Mutated bags through the reader and the trainer's inbox: no crash, no hang, no wrong acceptance.

A bag of the recorder has checksums. So a mutated one is set aside, or read as it was. In a bag
without checksums, or with other messages in a whole file, a value may differ. It must then be one
that the embodiment allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
import shutil

from bags import make_episode, write_bag
from efm_core.episode import Episode
from efm_data.ingest import Inbox
from efm_data.mcap_file import seal
from fuzz import mutations
from fuzz.mutations import generator, in_time, mutate, replace_object
import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from trainer_fakes import small_embodiment

ROBOT = small_embodiment()
EPISODE = make_episode(ROBOT, index=3, steps=3)
BLOCKS = 4
CASES = 15  # of each kind, block and round


@pytest.fixture(scope='module')
def sources(tmp_path_factory) -> dict[str, Path]:
    """Return a bag as the recorder writes it, one without checksums, and one in SQLite."""
    folder = tmp_path_factory.mktemp('sources')
    found = {name: write_bag(EPISODE, folder / name) for name in ('sealed', 'plain')}
    for file in found['sealed'].glob('*.mcap'):
        seal(file)
    found['sqlite'] = write_bag(EPISODE, folder / 'sqlite', plugin='sqlite3')
    return found


def storage(bag: Path) -> Path:
    return next(path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3'))


def other_bytes(rng: np.random.Generator, bag: Path) -> None:
    """Mutate the bytes of the storage file."""
    file = storage(bag)
    file.write_bytes(mutate(rng, file.read_bytes()))


def other_metadata(rng: np.random.Generator, bag: Path) -> None:
    """Mutate the bytes of metadata.yaml."""
    file = bag / 'metadata.yaml'
    file.write_bytes(mutate(rng, file.read_bytes()))


def other_objects(rng: np.random.Generator, bag: Path) -> None:
    """Replace a file of the bag, or the bag, by a pipe, a link, a device or a folder."""
    replace_object(rng, [storage(bag), bag / 'metadata.yaml', bag][rng.integers(3)])


def other_messages(rng: np.random.Generator, bag: Path) -> None:
    """Mutate, drop or repeat messages, and write a whole file with valid checksums."""
    with Reader(bag) as reader:
        messages = list(reader.messages())
        kept = []
        victim = int(rng.integers(len(messages)))
        for number, (connection, time, data) in enumerate(messages):
            times = rng.integers(0, 3) if number == victim else 1
            changed = mutate(rng, data[4:]) if number == victim else data[4:]
            kept += [(connection, time, data[:4] + changed)] * times
        shutil.rmtree(bag)
        write_messages(bag, kept)
    seal(storage(bag))


def write_messages(bag: Path, messages: list) -> None:
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        made = {}
        for c, time, data in messages:
            if c.topic not in made:
                made[c.topic] = writer.add_connection(
                    c.topic, c.msgtype, msgdef=c.msgdef.data, rihs01=c.digest
                )
            writer.write(made[c.topic], time, data)


KINDS: dict[str, tuple[str, Callable[[np.random.Generator, Path], None]]] = {
    'sealed_bytes': ('sealed', other_bytes),
    'sealed_metadata': ('sealed', other_metadata),
    'sealed_objects': ('sealed', other_objects),
    'plain_bytes': ('plain', other_bytes),
    'sqlite_bytes': ('sqlite', other_bytes),
    'messages': ('plain', other_messages),
}


def is_same(found: Episode) -> bool:
    """Return whether every field of an episode is that of the source."""
    names = [field.name for field in fields(Episode) if field.name != 'observations']
    pairs = ((getattr(found, name), getattr(EPISODE, name)) for name in names)
    return found.observations.equals(EPISODE.observations) and all(
        np.array_equal(a, b) for a, b in pairs
    )


def is_lawful(found: Episode) -> bool:
    """Return whether an embodiment allows every value, by other code than the reader's."""
    space = ROBOT.action
    steps = len(found)
    return (
        found.observations.images[0].shape == (steps + 1, *ROBOT.observation_size, 3)
        and found.actions.shape == ((steps, len(space.names)) if steps else found.actions.shape)
        and bool(np.isfinite(found.actions).all())
        and (not steps or abs(found.actions).max() <= max(space.high) * (1 + 1e-4))
        and all(0 <= token <= 10 for token in found.tokens.ravel())
        and all(-np.inf < p <= 1e-4 for p in found.log_probs)
        and all(np.isnan(d) or 0 <= d < np.inf for d in found.steps_to_go)
        and bool(found.instruction.strip())
        and len(found.instruction) <= 500
        and found.instruction.isprintable()
        and found.embodiment_hash == ROBOT.hash
        and bool((np.diff(found.stamps) > 0).all())
    )


@pytest.mark.parametrize('block', range(BLOCKS))
@pytest.mark.parametrize('kind', KINDS)
def test_a_mutated_bag_is_set_aside_or_read_as_the_embodiment_allows(
    tmp_path, sources, kind, block, record_property
):
    source, change = KINDS[kind]
    counts: Counter[str] = Counter()
    for case in range(CASES * mutations.ROUNDS):
        where = f'{kind}, block {block}, case {case}'
        root = tmp_path / str(case)
        inbox = Inbox(root / 'inbox', root / 'quarantine', embodiment=ROBOT)
        bag = shutil.copytree(sources[source], root / 'inbox' / 'bag')
        change(generator(list(KINDS).index(kind), block, case), bag)
        with in_time(where):
            arrived = inbox.poll(set())
        for episodes in arrived.values():
            for found in episodes:
                counts['same' if is_same(found) else 'differs'] += 1
                assert is_same(found) or (source != 'sealed' and is_lawful(found)), where
        if not arrived and (root / 'quarantine').exists() and not bag.exists():
            reasons = [path.read_text() for path in (root / 'quarantine').glob('*.txt')]
            assert all(str(bag) in reason and reason.count('\n') == 1 for reason in reasons), where
            counts['set aside'] += 1
        elif not arrived:
            counts['no bag any more'] += 1
        assert not arrived or not inbox.quarantined, where
        assert inbox.poll({'bag'}) == {}, where
        shutil.rmtree(root)
    for name, count in counts.items():
        record_property(f'bags {kind} {name}', count)
    record_property('bags', CASES * mutations.ROUNDS)
