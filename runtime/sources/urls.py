"""Addresses of streams: which texts are one, and how to show one without its secrets."""

from __future__ import annotations

import re

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)

# People type passwords as they are, with slashes, quotes and at signs: everything up to the last @
# before the next space or the next address goes. Rather a host too much than half a password.
_USER = re.compile(r"(://)(?:(?!://)\S)+@")
_ENCODED_USER = re.compile(r"(%3A%2F%2F)[^\s&]+(%40)", re.IGNORECASE)
_USER_WITHOUT_SCHEME = re.compile(r"(?<![^\s@:/='\"])[^\s@:/='\"]+:(?!//)\S*@")

# Parameters whose names end so. Here as above, what must not stand before a name keeps the time
# from growing with the square of the length. A value may hold all but the end of its parameter.
_SECRET = re.compile(
    r"""
    (?<![\w.%-])([\w.%-]*?(?:passw(?:or)?d|passphrase|pass|pwd|psw|pw|token|key|secret
      |auth|authorization|sig|signature|credentials?|user|username|usr|login|user-?id|proxy-id)
    \s*(?:=|%3D)\s*)
    (?:\(string\)\s*)?
    (?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')?[^\s&]*
    """,
    re.IGNORECASE | re.VERBOSE,
)


def scheme_of(text: str) -> str | None:
    """Return the scheme of a URL in small letters, or None where ``text`` is no URL.

    Examples:
        >>> scheme_of("RTSP://camera/1"), scheme_of("clip.mp4"), scheme_of("C:/clip.mp4")
        ('rtsp', None, None)
    """
    match = _SCHEME.match(text)
    return match[1].lower() if match else None


def is_pipeline(text: str) -> bool:
    """Return whether ``text`` is a GStreamer pipeline, whose elements stand between `` ! ``."""
    return " ! " in text


def redact(text: str) -> str:
    """Hide what must not be seen of the addresses in a text.

    Users and passwords before an ``@`` are hidden, and the values of parameters whose names end in
    password, token, key, secret and the like, in URLs as well as in GStreamer pipelines. A secret
    in the path of a URL, such as the key of an RTMP stream, cannot be told from a name.

    Args:
        text: One address, or a longer text with any number of them.

    Returns:
        The text with ``***`` in place of every secret.

    Examples:
        >>> redact("rtsp://admin:p@ss/word@camera:554/1?channel=2&token=abc is lost")
        'rtsp://***@camera:554/1?channel=2&token=*** is lost'
        >>> redact('rtspsrc location=rtsp://u:p@cam/1 user-pw="p w" latency=0 ! decodebin')
        'rtspsrc location=rtsp://***@cam/1 user-pw=*** latency=0 ! decodebin'
    """
    text = _USER.sub(r"\1***@", text)
    text = _ENCODED_USER.sub(r"\1***\2", text)
    text = _USER_WITHOUT_SCHEME.sub("***@", text)
    return _SECRET.sub(r"\1***", text)
