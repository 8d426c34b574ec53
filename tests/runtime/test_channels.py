"""Queues between threads."""

from __future__ import annotations

import threading

import pytest

from runtime.channels import Channel, End, Inbox

SOON = 10  # seconds, within which anything that does not hang is done


def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(SOON)
    return not thread.is_alive()


def test_a_closed_empty_channel_yields_nothing():
    channel: Channel[int] = Channel(1)
    channel.close()
    assert list(channel) == []


def test_all_items_pass_in_order_and_never_more_than_fit_wait():
    channel: Channel[int] = Channel(3)
    most = []

    def fill():
        for number in range(100):
            channel.put(number)
            most.append(len(channel._items))
        channel.close()

    filler = in_thread(fill)
    assert list(channel) == list(range(100))
    assert ends(filler) and max(most) <= 3


def test_an_error_comes_after_the_items_before_it():
    channel: Channel[int] = Channel(4)
    channel.put(1)
    channel.close(ValueError("broken"))
    items = iter(channel)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_cancelling_frees_who_waits_for_room():
    channel: Channel[int] = Channel(1)
    channel.put(1)
    answers = []
    waiting = in_thread(lambda: answers.append(channel.put(2)))
    channel.cancel()
    assert ends(waiting) and answers == [False] and list(channel) == []


def test_an_inbox_without_sources_is_at_its_end():
    assert Inbox(0, 2).take() == []


def test_the_oldest_of_each_source_is_taken_and_the_end_comes_last():
    inbox: Inbox[str] = Inbox(3, 2)
    inbox.put(0, "a1")
    inbox.put(0, "a2")
    inbox.put(2, "c1")
    inbox.end(0)
    inbox.end(1, ValueError())
    taken = inbox.take()
    assert [source for source, _ in taken] == [0, 1, 2]
    assert taken[0][1] == "a1" and isinstance(taken[1][1], End) and taken[2][1] == "c1"
    assert inbox.take() == [(0, "a2")]
    assert inbox.take() == [(0, End(None))]
    assert not inbox.put(0, "a3")
    inbox.end_all()
    assert inbox.take() == [(2, End(None))] and inbox.take() == []


def test_late_frames_make_room_for_newer_ones_and_are_counted():
    inbox: Inbox[int] = Inbox(1, 2)
    for number in range(5):
        assert inbox.put(0, number, drop_oldest=True)
    assert inbox.dropped == [3]
    assert inbox.take() == [(0, 3)] and inbox.take() == [(0, 4)]


@pytest.mark.parametrize("how", ["end_all", "cancel"])
def test_ending_frees_who_waits_for_room(how):
    inbox: Inbox[int] = Inbox(1, 1)
    inbox.put(0, 1)
    answers = []
    waiting = in_thread(lambda: answers.append(inbox.put(0, 2)))
    getattr(inbox, how)()
    assert ends(waiting) and answers == [False]
    assert len(inbox.take()) == (1 if how == "end_all" else 0)
