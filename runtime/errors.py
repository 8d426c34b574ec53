"""The one exception a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Input or environment that the user can put right.

    The message is one line that says what is wrong, where, and what to do. The command lines print
    it behind ``error:`` and exit with status 1; they never show a traceback for it.

    Examples:
        >>> raise UserError("clip.mp4 is not a video: give a video file or a folder of images")
        Traceback (most recent call last):
        ...
        runtime.errors.UserError: clip.mp4 is not a video: give a video file or a folder of images
    """
