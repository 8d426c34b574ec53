"""Sources can be named in messages and folders without giving anything away."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sources import FrameSource, folder_names, redact


class Named(FrameSource):
    def __init__(self, name: str) -> None:
        self.name = name

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:geheim@cam:554/1", "rtsp://***@cam:554/1"),
        ("rtsp://geheim@cam/1", "rtsp://***@cam/1"),
        ("rtsp://admin:ge@he/i?m#'\"@cam/1", "rtsp://***@cam/1"),
        ("admin:geheim@cam/1", "***@cam/1"),
        ("rtsp:/admin:geheim@cam/1", "***@cam/1"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("http://cam:80/video?fps=5&size=2", "http://cam:80/video?fps=5&size=2"),
        ("http://cam/v?user=geheim&pwd=gehe,im&fps=5", "http://cam/v?user=***&pwd=***&fps=5"),
        ("http://cam/v?access_token=geheim", "http://cam/v?access_token=***"),
        ("http://cam/v?X-Amz-Signature=geheim#t", "http://cam/v?X-Amz-Signature=***"),
        ("http://cam/v?API%5FKEY%3Dgeheim", "http://cam/v?API%5FKEY%3D***"),
        ("http://a/?u=b%3Fpwd%3Dgeheim%26token%3Dheim", "http://a/?u=b%3Fpwd%3D***"),
        ("rtsp://cam/user=admin_password=geheim_channel=1", "rtsp://cam/user=***"),
        ("http://a/?u=rtsp%3A%2F%2Fadm%3Ageheim%40b", "http://a/?u=rtsp%3A%2F%2F***%40b"),
        (
            "rtsp://u:geheim@a/1 and rtsp://v:geheim@b/2,rtsp://w:geheim@c are lost",
            "rtsp://***@a/1 and rtsp://***@b/2,rtsp://***@c are lost",
        ),
        (
            "rtspsrc location=rtsp://cam/1 user-id=geheim user-pw='ge heim' ! appsink",
            "rtspsrc location=rtsp://cam/1 user-id=*** user-pw=*** ! appsink",
        ),
        (
            'souphttpsrc location="http://u:geheim@cam" proxy-pw=(string)"ge\\"heim" ! appsink',
            'souphttpsrc location="http://***@cam" proxy-pw=*** ! appsink',
        ),
        ("videotestsrc pattern=ball ! appsink", "videotestsrc pattern=ball ! appsink"),
    ],
)
def test_secrets_are_hidden(text, shown):
    assert redact(text) == shown
    assert "heim" not in redact(text)


TYPED = st.text(st.characters(min_codepoint=33, max_codepoint=126))


@given(before=TYPED, after=TYPED)
def test_no_password_shows(before, after):
    for text in (
        f"rtsp://admin:{before}geheim{after}@camera/1",
        f"see rtsp://admin:{before}geheim{after}@camera/1?a=b for more",
    ):
        assert "geheim" not in redact(text)
        assert "camera/1" in redact(text)


def test_folder_names_tell_sources_apart():
    sources = ["walk", "rtsp://u:p@cam:554/1?token=x", "Walk", "walk", "walk-2", "..", "/", "中庭"]
    assert folder_names([Named(name) for name in sources]) == [
        *("walk", "rtsp-cam-554-1-token", "Walk-3", "walk-4", "walk-2", "source", "source-2"),
        "中庭",
    ]


@given(
    st.lists(
        st.one_of(
            st.text(max_size=80), st.sampled_from(["a", "a-2", "A", "../x", ".git", "x" * 70])
        ),
        max_size=12,
    )
)
def test_folder_names_are_safe(names):
    folders = folder_names([Named(name) for name in names])
    assert len(folders) == len(names)
    assert len({folder.casefold() for folder in folders}) == len(folders)
    for folder in folders:
        assert re.fullmatch(r"[\w.-]{1,60}", folder)
        assert not folder.startswith((".", "-")) and len(folder.encode()) < 255
