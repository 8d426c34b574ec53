"""Writing a generated scene as a MOTChallenge sequence."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from runtime.console import progress
from runtime.errors import UserError
from runtime.files import output_directory
from runtime.mot import SequenceInfo, write_sequence_info
from train.data.synth.canvas import Image
from train.data.synth.config import SceneConfig
from train.data.synth.scene import Scene, SceneFrame

FORMATS = ("images", "video")
_JPEG_QUALITY = 93
_scene: Scene | None = None


def write_sequence(
    directory: str | os.PathLike[str],
    config: SceneConfig,
    image_format: str = "images",
    name: str | None = None,
    workers: int = 1,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Path:
    """Render a scene into a folder in the MOTChallenge layout.

    The folder holds ``gt/gt.txt`` (frame, id, left, top, width, height, mark 1, class 1,
    visibility), ``seqinfo.ini`` and the frames. It appears under its name only when it is whole.

    Args:
        directory: The folder to make.
        config: What to generate.
        image_format: ``images`` for ``img1/000001.jpg`` and on, ``video`` for ``NAME.avi`` in
            Motion JPEG, which every OpenCV can write and read.
        name: Name of the sequence; the folder's name if None.
        workers: Processes that render; the result does not depend on it. More than one needs
            the calling script to be importable, as ``multiprocessing`` demands.
        overwrite: Whether an earlier sequence at ``directory`` is replaced.
        show_progress: Whether to draw a progress bar.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists and is not empty, cannot be written, or an argument is wrong.
    """
    if image_format not in FORMATS:
        raise UserError(f"format {image_format!r} is unknown: choose from {', '.join(FORMATS)}")
    if image_format == "video" and (config.size_wh[0] % 2 or config.size_wh[1] % 2):
        width, height = config.size_wh
        # OpenCV drops the last column or row without a word.
        raise UserError(f"a video of {width}x{height}: Motion JPEG needs even sides, give such")
    if workers < 1:
        raise UserError(f"{workers} workers cannot work: give at least 1")
    final = Path(directory)
    name = final.resolve().name if name is None else name
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\n"):
        raise UserError(f"sequence name {name!r} cannot be a file name: give another with --name")
    with _atomic_directory(final, overwrite) as folder:
        try:
            _write(folder, config, image_format, name, min(workers, config.frames), show_progress)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"cannot write {final} ({reason}): free space or choose another place"
            ) from error
    return final


def write_sequences(
    directory: str | os.PathLike[str],
    config: SceneConfig,
    scenes: int,
    image_format: str = "images",
    workers: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Render several scenes, each into a folder of its own, several at a time.

    Args:
        directory: Holds the folders ``000``, ``001``, ...; existing ones are kept when not empty,
            unless ``overwrite``.
        config: What to generate; scene n has the seed ``config.seed + n``.
        scenes: How many.
        image_format: See ``write_sequence``.
        workers: Processes, each rendering whole scenes.
        overwrite: See ``write_sequence``.

    Returns:
        The folders.

    Raises:
        UserError: As ``write_sequence``.
    """
    parent = output_directory(directory)
    jobs = [
        (parent / f"{number:03d}", dataclasses.replace(config, seed=config.seed + number))
        for number in range(scenes)
    ]
    context = multiprocessing.get_context("spawn")
    with progress() as bar, context.Pool(max(1, min(workers, scenes))) as pool:
        task = bar.add_task("rendering scenes", total=scenes)
        pending = [
            pool.apply_async(write_sequence, (*job, image_format, None, 1, overwrite, False))
            for job in jobs
        ]
        folders = []
        for result in pending:
            folders.append(result.get())
            bar.advance(task)
    return folders


def _write(
    folder: Path, config: SceneConfig, image_format: str, name: str, workers: int, show: bool
) -> None:
    (folder / "gt").mkdir()
    sink = _ImageSink(folder) if image_format == "images" else _VideoSink(folder, name, config)
    lines = []
    bar = progress(shown=show)
    try:
        with bar:
            task = bar.add_task("rendering", total=config.frames)
            for number, frame in enumerate(_frames(config, workers), 1):
                sink.write(number, frame.image)
                lines += ground_truth_rows(number, frame)
                bar.advance(task)
    finally:
        sink.close()
    (folder / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_sequence_info(folder, SequenceInfo(name, config.fps, config.frames, config.size_wh))


def ground_truth_rows(number: int, frame: SceneFrame) -> list[str]:
    """Return the rows of a frame in the nine columns of MOT16 and later.

    Args:
        number: Frame number, from 1.
        frame: The frame.
    """
    return [
        f"{number},{identity},{left:.0f},{top:.0f},{width:.0f},{height:.0f},1,1,{share:.5f}"
        for identity, (left, top, width, height), share in zip(
            frame.ids.tolist(), frame.boxes_ltwh.tolist(), frame.visibility.tolist(), strict=True
        )
    ]


def _frames(config: SceneConfig, workers: int) -> Iterator[SceneFrame]:
    """Render all frames in order, in this process or in several."""
    if workers == 1:
        scene = Scene(config)
        yield from (scene.render(index) for index in range(config.frames))
        return
    # Fresh processes rather than forks: the caller may have threads, and torch certainly does.
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _start_worker, (config,)) as pool:
        yield from pool.imap(_render, range(config.frames), chunksize=2)


def _start_worker(config: SceneConfig) -> None:
    global _scene
    cv2.setNumThreads(1)
    _scene = Scene(config)


def _render(index: int) -> SceneFrame:
    assert _scene is not None
    frame = _scene.render(index)
    # The map of identities is not written; sending it between processes would cost more than
    # the picture.
    return SceneFrame(
        frame.image, frame.ids, frame.boxes_ltwh, frame.visibility, np.zeros((0, 0), np.int32)
    )


class _ImageSink:
    """Numbered JPEG files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "img1"
        self._folder.mkdir()

    def write(self, number: int, image: Image) -> None:
        file = self._folder / f"{number:06d}.jpg"
        if not cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
            raise OSError(f"{file.name} was not written")

    def close(self) -> None:
        pass


class _VideoSink:
    """One Motion JPEG file."""

    def __init__(self, folder: Path, name: str, config: SceneConfig) -> None:
        fourcc = cv2.VideoWriter.fourcc(*"MJPG")
        file = str(folder / f"{name}.avi")
        self._writer = cv2.VideoWriter(file, fourcc, config.fps, config.size_wh)
        if not self._writer.isOpened():
            raise OSError("this OpenCV cannot write Motion JPEG")

    def write(self, number: int, image: Image) -> None:
        self._writer.write(image)

    def close(self) -> None:
        self._writer.release()


@contextmanager
def _atomic_directory(final: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary sibling of ``final`` that takes its place only on success."""
    if final.exists() and not final.is_dir():
        raise UserError(f"{final} is a file: give a directory for the output")
    if final.is_dir() and any(final.iterdir()):
        if not overwrite:
            raise UserError(f"{final} is not empty: choose another directory or pass --overwrite")
        # A mistyped path must not cost somebody a folder of other things.
        if not (final / "seqinfo.ini").is_file():
            raise UserError(f"{final} is not a sequence: remove it by hand to put one there")
    parent = output_directory(final.resolve().parent)
    stem = final.resolve().name
    temporary, old = (parent / f".{stem}.{os.getpid()}.{kind}" for kind in ("part", "old"))
    try:
        temporary.mkdir()
        yield temporary
        if final.exists():
            final.replace(old)
        temporary.replace(final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {final} ({reason}): choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not final.exists():
            old.replace(final)
        shutil.rmtree(old, ignore_errors=True)
