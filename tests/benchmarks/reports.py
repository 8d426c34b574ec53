"""Made-up measurements and a made-up scene for the tests of the report, and a reader of pages."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

HOSTILE = "<script>alert(1)</script>\"'&$x_1$<!-- ]]> </svg></style> url(http://evil.example)"
ATTACKS = (
    "</script><img src=x onerror=alert(1)>",
    "\"quoted\" 'twice' & &amp;",
    "several\nlines\r\nof\ttext",
    "\u202eturned around\u2066 \u05e9\u05dc\u05d5\u05dd",
    "long" * 75,
    "\U0001f680 rocket \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "{{7*7}} {% raw %} {#",
    "$\\alpha$ _under_ `ticks` ``` a|b **bold** [link](http://evil.example) @octocat #1",
    "<style>*{display:none}</style><svg onload=alert(2)>",
    "--> <!-- ]]> &lt;b&gt;",
)
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Collects what the tests ask about, and that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def values(self, attribute):
        return [value for _, name, value in self.attributes if name == attribute]


def make_run(folder: Path, name: str = "", role: str = "", hota: float = 0.4, **files) -> Path:
    folder.mkdir(parents=True)
    accuracy = {"sequence": "SEQ", "MOTA": 0.5, "IDF1": 0.6, "HOTA": hota, "IDSW": 3}
    (folder / "accuracy.json").write_text(json.dumps(accuracy | files.pop("accuracy", {})))
    if name or role:
        details = {"name": name, "role": role, "parameters": 3_480_000} | files.pop("run", {})
        (folder / "run.json").write_text(json.dumps(details))
    for stem, content in files.items():
        if isinstance(content, str):
            (folder / stem.replace("_", ".")).write_text(content)
        else:
            (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def latency(name: str, milliseconds: float) -> dict:
    stages = {
        stage: {"median_ms": share * milliseconds, "p95_ms": 1, "p99_ms": 1, "mean_ms": 1}
        for stage, share in (("preprocess", 0.1), ("network", 0.8), ("association", 0.1))
    } | {"total": {"median_ms": milliseconds}}
    model = {"model": name, "bytes": 14_000_000, "stages": stages}
    return {"models": [model], "environment": {"cpu": f"CPU of {name}", "cores": 2}}


def whole_run(folder: Path, name: str, role: str, hota: float) -> Path:
    alphas = np.arange(1, 20) / 20
    return make_run(
        folder,
        name,
        role,
        hota,
        run={"notes": f"notes {name}", "command": f"kd-train {name}"},
        accuracy={"alphas": alphas.tolist(), "HOTA_alpha": (1 - alphas).tolist()},
        latency=latency(name, 20 * hota),
        parity={
            "passed": False,
            "precision": name,
            "frames": 8,
            "thresholds": {name: 0.5},
            "figures": {name: 0.25, "other": 1},
        },
        training_csv=f'epoch,step,seconds,loss,"{name.replace(chr(34), chr(34) * 2)}"\n'
        "0,1,0.1,90,45\n0,2,0.2,1,\n",
    )


def make_sequence(folder: Path, frames: int = 6, gt: bool = True) -> Path:
    """Make black frames with one object that walks to the right."""
    (folder / "img1").mkdir(parents=True)
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=25\nseqLength={frames}\n"
        "imWidth=96\nimHeight=64\nimExt=.png\n"
    )
    if gt:
        (folder / "gt").mkdir()
        (folder / "gt" / "gt.txt").write_text(walk([1] * frames))
    for frame in range(1, frames + 1):
        picture = np.zeros((64, 96, 3), np.uint8)
        cv2.imwrite(str(folder / "img1" / f"{frame:06d}.png"), picture)
    return folder


def walk(ids: list[int]) -> str:
    """Return rows that cover the object of ``make_sequence`` by a track per frame, 0 by none."""
    return "".join(
        f"{frame},{track},{frame * 4},10,20,40,1,-1,-1,-1\n"
        for frame, track in enumerate(ids, 1)
        if track
    )


def compared_run(folder: Path, name: str, number: int, role: str = "", **entry) -> Path:
    """Make a folder as ``kd-bench compare`` writes it, of two sequences, with all there can be."""
    folder = whole_run(folder, name, role, 0.4 + 0.01 * number)
    accuracy = json.loads((folder / "accuracy.json").read_text())
    sequences = [
        {**accuracy, "sequence": sequence, "IDSW": number, "FP": 2, "FN": 3}
        for sequence in ("ONE", "TWO")
    ]
    (folder / "accuracy.json").write_text(
        json.dumps({**accuracy, "sequence": "ONE, TWO", "sequences": sequences})
    )
    # Few pictures make a quick test.
    if number:
        (folder / "training.csv").unlink()
    if number < 2:
        (folder / "tracks").mkdir()
        (folder / "tracks" / "ONE.txt").write_text(walk([1, 1, 1, 2, 2, 0]))
        (folder / "tracks" / "TWO.txt").write_text(walk([1, 1, 1, 1, 1, 1]))
    told = latency(name, 10.0 + number)
    told["models"][0] |= {
        "frame_ms": [10.0 + number + 0.1 * frame for frame in range(20)],
        "jitter_ms": 0.5,
        "throughput_fps": 90.0,
        "memory_mb": 120.0,
        "load_ms": 70.0,
        "first_frame_ms": 25.0,
        "energy_mj": 110.0,
        "power_w": 11.0,
        **entry,
    }
    told["environment"]["clocks"] = {"before": {"cpu_mhz": 2400}, "after": {"cpu_mhz": 1800}}
    told["environment"]["warnings"] = [f"the clock fell {HOSTILE}"]
    told["settings"] = {"rounds": 10, "source": HOSTILE}
    (folder / "latency.json").write_text(json.dumps(told))
    return folder


def compared_runs(folder: Path, names: list[str], rivals: int = 0) -> list[Path]:
    """Make such folders, the last ones rivals, with ratios against the first."""
    folders = [
        compared_run(folder / str(number), name, number, "rival" if left <= rivals else "")
        for number, (name, left) in enumerate(zip(names, range(len(names), 0, -1), strict=True))
    ]
    told = [json.loads((one / "latency.json").read_text()) for one in folders]
    models = [one["models"][0] for one in told]
    ratios = [
        {"first": names[0], "other": name, "ratio": 1.5, "low": 1.4, "high": 1.6, "confidence": 0.9}
        for name in names[1:]
    ]
    for one, content in zip(folders, told, strict=True):
        content |= {"models": models, "comparisons": ratios}
        (one / "latency.json").write_text(json.dumps(content))
    return folders
