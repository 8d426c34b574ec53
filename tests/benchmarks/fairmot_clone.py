"""A clone of FairMOT in miniature: the names that the contender uses, and next to nothing in them.

Its tracker puts out three boxes in every frame, of which one is too small and one too wide.
"""

from __future__ import annotations

from pathlib import Path

OPTS = """
import types

class opts:
    def init(self, args):
        print("heads")
        assert args[0] == "mot"
        gpus = [int(args[1].removeprefix("--gpus="))]
        return types.SimpleNamespace(gpus=gpus, heads={"hm": 1}, head_conv=8, min_box_area=100)
"""

JDE = """
import cv2
import numpy as np
from cython_bbox import bbox_overlaps
from opts import opts
from utils.image import nothing

class LoadImages:
    def __init__(self, path, img_size):
        self.files, (self.width, self.height) = [path], img_size

    def __getitem__(self, index):
        img0 = cv2.imread(self.files[index])
        img = cv2.resize(img0, (self.width, self.height))
        return self.files[index], np.ascontiguousarray(img.transpose(2, 0, 1), np.float32), img0
"""

MODEL = """
from .networks.pose_dla_dcn import get_pose_net
from .networks.pose_hrnet import get_pose_net as hrnet
from .yolo import get_pose_net as yolo

def create_model(arch, heads, head_conv):
    assert arch == "dla_34"
    return get_pose_net(34, heads, head_conv)

def load_model(model, path):
    raise AssertionError("loads what fits and goes on")
"""

DLA = """
from torch import nn
from dcn_v2 import DCN

class DLA:
    def load_pretrained_model(self):
        raise AssertionError("goes to the network")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        DLA().load_pretrained_model()
        self.conv = DCN(3, 1, kernel_size=(3, 3), stride=1, padding=1, dilation=1,
                        deformable_groups=1)

    def forward(self, x):
        return [{"hm": self.conv(x)}]

def get_pose_net(layers, heads, head_conv):
    return Net()
"""

HRNET = "import a_package_that_nobody_has\n"

TRACKER = """
import numpy as np
import torch
from models import *
from models.model import create_model, load_model
from tracking_utils.log import logger
from tracking_utils.utils import *

class BaseTrack:
    _count = 0

class STrack(BaseTrack):
    def __init__(self, tlwh, score):
        BaseTrack._count += 1
        self.track_id, self.tlwh, self.score = BaseTrack._count, np.array(tlwh, np.float), score
        self.tlbr = self.tlwh + [0, 0, *self.tlwh[:2]]

class JDETracker:
    def __init__(self, opt, frame_rate=30):
        print("Creating model...")
        self.model = load_model(create_model(opt.arch if hasattr(opt, "arch") else "", {}, 0), "")
        self.frame_rate = frame_rate

    def merge_outputs(self, detections):
        return detections[0]

    def update(self, blob, img0):
        with torch.no_grad():
            heat = self.model(blob)[-1]["hm"]
        self.merge_outputs([heat])
        return [STrack(box, float(heat.mean())) for box in
                ([5, 6, 20, 40], [5, 6, 9, 9], [5, 6, 70, 40])]
"""


def write_clone(folder: Path) -> Path:
    """Write it."""
    files = {
        "opts.py": OPTS,
        "datasets/dataset/jde.py": JDE,
        "utils/image.py": "nothing = None\n",
        "models/model.py": MODEL,
        "models/yolo.py": HRNET,
        "models/networks/pose_dla_dcn.py": DLA,
        "models/networks/pose_hrnet.py": HRNET,
        "tracking_utils/log.py": HRNET,
        "tracking_utils/utils.py": HRNET,
        "tracker/multitracker.py": TRACKER,
    }
    for name, content in files.items():
        file = folder / "src" / "lib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return folder
