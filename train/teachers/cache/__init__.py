"""A label-free teacher's outputs on disk."""

from __future__ import annotations

from train.teachers.cache.cache import TeacherCache
from train.teachers.cache.packing import content_key

__all__ = ["TeacherCache", "content_key"]
