"""
Which of several Coordinators gives jobs to runners.

While a cluster is replaced by another there are two, on one store. The newer one gets the lead when it can do the work, once; the
older one then stands by, and gets it back only from a leader that has fallen silent. A new one that cannot do the work takes the
lead only when nobody has led for long, or the leader's cluster was ended in order. What is kept is one row, and what becomes of it
are pure functions, as in `machine`.

How long a silent leader is waited for decides how often the lead changes hands, and how often an attempt that goes on well is counted as
one that failed; never what becomes of a job: the epoch keeps a living leader that was taken for dead from giving out any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST_UNANSWERED = 6  # questions of one who led before: a leader that left so many open is taken for dead
MOST_UNANSWERED_WANTED = 2  # of one who may have the lead: a living leader would let go anyway
MOST_UNANSWERED_IDLE = (
    60  # of one who never led and cannot do the work: a leader that returns would not get the lead back from it
)
MOST_FORMER = 8  # clusters; only the last one or two are still there


@dataclass(frozen=True, slots=True)
class Leadership:
    """
    Who leads, as a store keeps it.

    Attributes:
        epoch: Higher with each leader.
        cluster: The leader's, also after it let go; None before the first, and after one that let go for good.
        former: Other clusters that led before, the last one last.
        asked: Somebody who stands by asked the leader for a sign of life, since its last one.
        answers: Its signs of life.
        wanted: Somebody who may have the lead waits for it.
        vacant: The leader let go.
    """

    epoch: int = 0
    cluster: str | None = None
    former: tuple[str, ...] = ()
    asked: bool = False
    answers: int = 0
    wanted: bool = False
    vacant: bool = False


def asked(known: Leadership, cluster: str, *, ready: bool) -> Leadership:
    """Somebody of a cluster asked the leader for a sign of life; for the lead, too, if it is `ready` and never led."""
    return replace(known, asked=True, wanted=known.wanted or (ready and _is_newcomer(known, cluster)))


def may_take_over(known: Leadership, cluster: str, *, ready: bool, led: bool, unanswered: int) -> bool:
    """
    Whether somebody who has `asked` leads from now on.

    Args:
        ready: Its cluster can do the work.
        led: It was the leader itself before; only the first to come after it in its cluster takes over at once.
        unanswered: How many questions in a row it saw no answer to, whoever asked besides.
    """
    is_newcomer = _is_newcomer(known, cluster)
    if known.cluster is None or unanswered >= _patience(is_newcomer, ready):
        return True
    if known.cluster == cluster:
        return not led
    return ready and known.vacant and is_newcomer


def taken_over(known: Leadership, cluster: str) -> Leadership:
    return Leadership(known.epoch + 1, cluster, tuple(name for name in _led(known) if name != cluster)[-MOST_FORMER:])


def answered(known: Leadership) -> Leadership:
    return replace(known, asked=False, answers=known.answers + 1) if known.asked else known


def resigned(known: Leadership, *, for_good: bool = False) -> Leadership:
    """The leader let go; `for_good`: its cluster ends, and whoever asks first leads."""
    if for_good:
        known = replace(known, cluster=None, former=_led(known)[-MOST_FORMER:])
    return replace(known, vacant=True, wanted=False)


def _patience(is_newcomer: bool, ready: bool) -> int:
    if not is_newcomer:
        return MOST_UNANSWERED
    return MOST_UNANSWERED_WANTED if ready else MOST_UNANSWERED_IDLE


def _led(known: Leadership) -> tuple[str, ...]:
    return known.former if known.cluster is None else (*known.former, known.cluster)


def _is_newcomer(known: Leadership, cluster: str) -> bool:
    return cluster != known.cluster and cluster not in known.former
