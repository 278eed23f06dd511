from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.jobs import Chat
from bot.queue import LEAST_S, Load, Ticket, turns, wait_s


def _ticket(job_id: str, chat: str, since_s: float, song: str = "") -> Ticket:
    return Ticket(job_id, song or job_id, ("fake", chat), since_s)


def _order(*tickets: Ticket, served: dict[str, float] | None = None, busy: tuple[str, ...] = ()) -> list[str]:
    served_at_s = {("fake", chat): at for chat, at in (served or {}).items()}
    return [ticket.job_id for ticket in turns(tickets, served_at_s, {("fake", chat) for chat in busy})]


def test_twenty_songs_of_one_chat_do_not_keep_another_waiting() -> None:
    many = [_ticket(f"a{number}", "a", number) for number in range(20)]
    assert _order(*many, _ticket("b", "b", 100))[:3] == ["a0", "b", "a1"]
    assert _order(*many, _ticket("b", "b", 100), served={"a": 50}) == ["a0", "b", *(f"a{n}" for n in range(1, 20))]
    assert _order(*many, _ticket("b", "b", 100), served={"a": 101})[0] == "b"
    assert _order(*many, _ticket("b", "b", 100), served={"a": 50}, busy=("a",))[0] == "b"


def test_the_chat_that_waited_longest_comes_first() -> None:
    waiting = [_ticket("a", "a", 1), _ticket("b", "b", 2), _ticket("c", "c", 3)]
    assert _order(*waiting) == ["a", "b", "c"]
    # served long before it asked: it waits since it asked
    assert _order(*waiting, served={"a": 0.5}) == ["a", "b", "c"]
    assert _order(*waiting, served={"a": 2.5}) == ["b", "a", "c"]
    assert _order(*waiting, served={"a": 2.5}, busy=("b",)) == ["a", "c", "b"]


def test_a_stream_of_new_chats_does_not_starve_an_old_one() -> None:
    old = _ticket("old", "old", 100)
    newer = [_ticket(f"n{number}", f"n{number}", 101 + number) for number in range(50)]
    assert _order(*newer, old, served={"old": 99})[0] == "old"


def test_a_song_that_many_wait_for_takes_one_turn() -> None:
    waiting = [_ticket("a1", "a", 1, "x"), _ticket("b1", "b", 2, "x"), _ticket("b2", "b", 3), _ticket("a2", "a", 4)]
    assert _order(*waiting) == ["a1", "b2", "a2"]


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9), st.sampled_from("stuvwxyz")), max_size=30),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 12)),
    st.sets(st.sampled_from("abcd")),
)
def test_every_song_gets_one_turn_and_rounds_are_fair(
    wanted: list[tuple[str, int, str]], served: dict[str, int], busy: set[str]
) -> None:
    waiting = [Ticket(f"{number:02}", song, ("fake", chat), since) for number, (chat, since, song) in enumerate(wanted)]
    order = turns(waiting, {("fake", chat): at for chat, at in served.items()}, {("fake", chat) for chat in busy})
    assert sorted(ticket.song for ticket in order) == sorted({ticket.song for ticket in waiting})
    assert set(order) <= set(waiting)
    # a chat gets its second turn only after every other chat that has a turn at all had one
    first_turns: dict[Chat, int] = {}
    counts: Counter[Chat] = Counter()
    for number, ticket in enumerate(order):
        first_turns.setdefault(ticket.chat, number)
        counts[ticket.chat] += 1
        if counts[ticket.chat] == 2:
            assert set(first_turns) == {turn.chat for turn in order}
    # and in its own order
    for chat in counts:
        own = [(ticket.since_s, ticket.job_id) for ticket in order if ticket.chat == chat]
        assert own == sorted(own)


def test_the_time_left_is_the_work_ahead_shared_among_engines() -> None:
    ahead = [Load(100, 0.5), Load(200)]
    assert wait_s(ahead, Load(40), 0.5, 1) == pytest.approx(145)
    assert wait_s(ahead, Load(40), 0.5, 2) == pytest.approx(82.5)
    # while the engines still load
    assert wait_s(ahead, Load(40), 0.5, 0) == pytest.approx(145)
    assert wait_s((), Load(40, 0.25), 2.0, 3) == pytest.approx(20)
    assert wait_s([Load(1)], Load(2), 0.5, 1) == wait_s([Load(LEAST_S)], Load(LEAST_S), 0.5, 1)
    # an unknown length counts as the average of the known ones
    assert wait_s([Load(None), Load(50)], Load(100), 1.0, 1) == pytest.approx(75 + 50 + 100)


def test_no_time_is_told_before_it_can_be() -> None:
    assert wait_s((), Load(100), None, 1) is None
    assert wait_s([Load(None)], Load(None), 1.0, 1) is None
