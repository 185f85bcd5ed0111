"""
Which component of a running episode is silent, in real time.

A dead component must not be recorded as a failure of the policy. From the first action on, the
policy, the reward model and the guard each owe an answer; before, the robot stands still.
"""

from __future__ import annotations

ACTION = 'action'
STEPS_TO_GO = 'steps_to_go'
COMMAND = 'command'
SENDERS = {ACTION: 'the policy', STEPS_TO_GO: 'the reward model', COMMAND: 'the guard'}


class ComponentWatch:
    """
    The time since each component of one episode was last heard. Times are in s.

    The supervisor is watched too: while its process stands still, nothing is checked.

    :param limit_s: longest silence.
    :param lifetime_s: of an action. Two answers to one image come within this time.
    :param reward_enabled: a reward model is expected to answer.
    """

    def __init__(self, *, limit_s: float, lifetime_s: float, reward_enabled: bool):
        self._limit_s = limit_s
        self._lifetime_s = lifetime_s
        self._answers = (ACTION, STEPS_TO_GO) if reward_enabled else (ACTION,)
        self._heard: dict[str, float] = {}
        self._never = {*self._answers, COMMAND}
        self._checked_at: float | None = None
        self._age_s = 0.0

    def note(self, sent: str, now: float, *, age_s: float = 0.0) -> None:
        """
        Note that an ``action``, a ``steps_to_go`` or a ``command`` has arrived.

        :param age_s: time since the image of an action [s].
        """
        if sent == ACTION:
            self._age_s = age_s
        self._never.discard(sent)
        if sent == ACTION and not self._heard:
            self._heard = dict.fromkeys((*self._answers, COMMAND), now)
        elif self._heard:
            self._heard[sent] = now

    def fault(self, now: float) -> str:
        """Return which component is silent and for how long; '' while all are heard."""
        return self._fault(now, self._limit_s)

    def fault_at_end(self, now: float) -> str:
        """
        Return why the time limit may not end the episode as a failure; '' if it may.

        Each component must have been heard at least once, and until shortly before the end.
        """
        sent = next((sent for sent in (*self._answers, COMMAND) if sent in self._never), '')
        if sent:
            return f'{self._sender(sent)} was silent: no {sent} in the whole episode{self._hint()}'
        return self._fault(now, self._limit_s - 2 * self._lifetime_s)

    def _fault(self, now: float, limit_s: float) -> str:
        last = now if self._checked_at is None else self._checked_at
        self._checked_at = now
        if now - last > limit_s:
            return self._describe('the supervisor', 'no check', now - last)
        silence = {sent: now - at for sent, at in self._heard.items()}
        if max(silence.values(), default=0.0) <= limit_s:
            return ''
        answers = [silence[sent] for sent in self._answers]
        if len(answers) > 1 and max(answers) - min(answers) < self._lifetime_s < min(answers):
            return self._describe('the camera', 'no image', max(answers))
        sent = next(sent for sent in (*self._answers, COMMAND) if silence[sent] > limit_s)
        return self._describe(self._sender(sent), f'no {sent}', silence[sent])

    def _sender(self, sent: str) -> str:
        if sent == ACTION and len(self._answers) == 1:
            return 'the camera or the policy'
        return SENDERS[sent]

    def _describe(self, who: str, what: str, silence: float) -> str:
        return f'{who} was silent: {what} for {silence:.2f} s{self._hint()}'

    def _hint(self) -> str:
        """Return what to do about actions that are too old for the guard when they arrive."""
        if self._age_s <= self._lifetime_s:
            return ''
        return (
            f'; the newest image was {self._age_s:.2f} s old when its action came, and the guard '
            f'rejects actions after {self._lifetime_s} s: compare the clocks of camera and robot, '
            'and the time that the policy takes'
        )
