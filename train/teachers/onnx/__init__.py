"""Teachers from ONNX files: any detector, any re-identification model, no labels needed."""

from __future__ import annotations

from train.teachers.onnx.detector import OnnxDetector
from train.teachers.onnx.embedder import OnnxEmbedder
from train.teachers.onnx.fingerprint import fingerprint
from train.teachers.onnx.teacher import OnnxTeacherModel, SeenObjects

__all__ = ["OnnxDetector", "OnnxEmbedder", "OnnxTeacherModel", "SeenObjects", "fingerprint"]
