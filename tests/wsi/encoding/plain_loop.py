"""What everybody writes: patch after patch with Pillow and timm's network, nothing folded."""

import numpy as np
import openslide
import safetensors.torch
import timm
import torch
from PIL import Image

from wsi.encoders import IMAGENET_MEAN, IMAGENET_STD


@torch.inference_mode()
def plain_loop(slide, coords, weights):
    """Return ``[N, 1024]`` of ResNet50 up to stage 3, for patches of 256 px of level 0."""
    network = timm.create_model("resnet50", pretrained=False).eval()
    network.load_state_dict(safetensors.torch.load_file(weights), strict=False)
    opened = openslide.OpenSlide(str(slide))
    rows = []
    for x, y in coords:
        patch = opened.read_region((int(x), int(y)), 0, (256, 256)).convert("RGB")
        patch = np.asarray(patch.resize((224, 224), Image.Resampling.BILINEAR)) / 255
        patch = ((patch - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)
        h = torch.from_numpy(patch[None]).float()
        h = network.maxpool(network.act1(network.bn1(network.conv1(h))))
        rows.append(network.layer3(network.layer2(network.layer1(h))).mean((2, 3))[0])
    return torch.stack(rows).numpy()


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
