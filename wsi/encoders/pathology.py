"""Encoders that learnt from histology, as their model cards say to build and to feed them.

Each entry names its card (``https://huggingface.co/`` and `source`) and its paper; numbers without
another source are the card's. Scales are in um per pixel: 0.5 is called 20x. ``trained_on_tcga``
is False only where card or paper names the slides and TCGA is not among them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from wsi.encoders.class_and_mean_patch import ClassAndMeanPatch, name_within
from wsi.encoders.dinov2_names import to_timm
from wsi.encoders.encoder import Encoder
from wsi.resnet import ResNet50

LUNIT_MEAN, LUNIT_STD = (0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464)
OPTIMUS_MEAN, OPTIMUS_STD = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
HIBOU_MEAN, HIBOU_STD = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)  # their image processor
NON_COMMERCIAL = "CC-BY-NC-ND-4.0"


def _vit(model: str, *, swiglu: bool = False, **arguments: Any) -> Callable[[], nn.Module]:
    """Return a function that builds timm's vision transformer, with gated feed-forward or not."""

    def build() -> nn.Module:
        import timm  # here, since it takes seconds
        from timm.layers import SwiGLUPacked

        gated = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU} if swiglu else {}
        return timm.create_model(model, pretrained=False, num_classes=0, **gated, **arguments)

    return build


def _virchow(**registers: int) -> Callable[[], nn.Module]:
    """ViT-H/14 of Virchow; mlp_ratio 5.3375 x 1280 = 6832, half of it behind the gate."""
    build = _vit(
        "vit_huge_patch14_224",
        swiglu=True,
        img_size=224,
        init_values=1e-5,
        mlp_ratio=5.3375,
        global_pool="",
        dynamic_img_size=True,
        **registers,
    )
    return lambda: ClassAndMeanPatch(build())


_vit_encoder = partial(
    Encoder,
    input_size=224,
    half="bfloat16",
    pooling="class token",
    mpp=(0.5,),
)
_virchow_encoder = partial(
    _vit_encoder,
    width=2560,
    interpolation="bicubic",
    adapt=name_within,
)
_optimus_encoder = partial(
    _vit_encoder,
    build=_vit(
        "vit_giant_patch14_reg4_dinov2", img_size=224, init_values=1e-5, dynamic_img_size=False
    ),
    width=1536,
    mean=OPTIMUS_MEAN,
    std=OPTIMUS_STD,
    interpolation="bicubic",
)
_hibou_encoder = partial(
    _vit_encoder,
    mean=HIBOU_MEAN,
    std=HIBOU_STD,
    interpolation="bicubic",
    licence="Apache-2.0",
    trained_on="over 1 million slides of HistAI, not published",
    adapt=to_timm,
)

PATHOLOGY_ENCODERS = (
    # Kang et al., CVPR 2023, and github.com/lunit-io/benchmark-ssl-pathology (release notes for
    # mean and std); the encoder of torchmil's experiments
    Encoder(
        name="resnet50_barlow_twins",
        build=ResNet50,
        width=2048,
        input_size=224,
        mean=LUNIT_MEAN,
        std=LUNIT_STD,
        mpp=(0.5, 0.25),
        trained_on="19 million patches of TCGA",
        trained_on_tcga=True,
        licence="Lunit's public licence: research only",
        source="https://github.com/lunit-io/benchmark-ssl-pathology/releases/download/"
        "pretrained-weights/bt_rn50_ep200.torch",
    ),
    # Chen et al., Nature Medicine 2024
    _vit_encoder(
        name="uni",
        build=_vit("vit_large_patch16_224", img_size=224, init_values=1e-5, dynamic_img_size=True),
        width=1024,
        trained_on="Mass-100K: 100,426 slides of Mass General Brigham and GTEx",
        trained_on_tcga=False,
        licence=NON_COMMERCIAL,
        source="MahmoodLab/UNI",
    ),
    _vit_encoder(
        name="uni2_h",
        build=_vit(
            "vit_giant_patch14_224",
            swiglu=True,
            img_size=224,
            patch_size=14,
            depth=24,
            num_heads=24,
            init_values=1e-5,
            embed_dim=1536,
            mlp_ratio=2.66667 * 2,
            no_embed_class=True,
            reg_tokens=8,
            dynamic_img_size=True,
        ),
        width=1536,
        trained_on="over 350,000 slides of Mass General Brigham",
        trained_on_tcga=False,
        licence=NON_COMMERCIAL,
        source="MahmoodLab/UNI2-h",
    ),
    # Ding et al., arXiv 2411.19666: handed out by code inside MahmoodLab/TITAN, whose attentional
    # pooler no documentation describes, so the network must come from that code (docs/encoders.md)
    _vit_encoder(
        name="conch_v1_5",
        build=None,
        width=768,
        input_size=448,
        pooling="attentional pooler",
        trained_on="1.26 million images with captions, not of TCGA, PAIP, CPTAC or PANDA",
        trained_on_tcga=False,
        licence=NON_COMMERCIAL,
        source="MahmoodLab/TITAN",
    ),
    # Vorontsov et al., Nature Medicine 2024
    _virchow_encoder(
        name="virchow",
        build=_virchow(),
        pooling="class token and mean patch token",
        trained_on="1.5 million slides of Memorial Sloan Kettering",
        trained_on_tcga=False,
        licence="Apache-2.0",
        source="paige-ai/Virchow",
    ),
    # Zimmermann et al., arXiv 2408.00738: 5x, 10x, 20x and 40x
    _virchow_encoder(
        name="virchow2",
        build=_virchow(reg_tokens=4),
        pooling="class token and mean patch token, without the 4 registers",
        mpp=(2.0, 1.0, 0.5, 0.25),
        trained_on="3.1 million slides of Memorial Sloan Kettering",
        trained_on_tcga=False,
        licence=NON_COMMERCIAL,
        source="paige-ai/Virchow2",
    ),
    _optimus_encoder(
        name="h_optimus_0",
        trained_on="over 500,000 slides, proprietary",
        licence="Apache-2.0",
        source="bioptimus/H-optimus-0",
    ),
    _optimus_encoder(
        name="h_optimus_1",
        trained_on="over 1 million slides, proprietary",
        licence=NON_COMMERCIAL,
        source="bioptimus/H-optimus-1",
    ),
    # Xu et al., Nature 2024; the tile encoder. patch_size 16 in spite of timm's name
    _vit_encoder(
        name="prov_gigapath",
        build=_vit(
            "vit_giant_patch14_dinov2",
            img_size=224,
            patch_size=16,
            embed_dim=1536,
            depth=40,
            num_heads=24,
            init_values=1e-5,
            mlp_ratio=5.33334,
        ),
        width=1536,
        resize=256,
        interpolation="bicubic",
        trained_on="171,189 slides of Providence",
        trained_on_tcga=False,
        licence="Prov-GigaPath's terms: research only",
        source="prov-gigapath/prov-gigapath",
    ),
    # Filiot et al., arXiv 2409.09173: ViT-L/16 without registers; 29,502 slides of TCGA
    _vit_encoder(
        name="phikon_v2",
        build=_vit("vit_large_patch14_dinov2", img_size=224, patch_size=16),
        width=1024,
        interpolation="bicubic",
        trained_on="PANCAN-XL: 60,000 public slides (TCGA, CPTAC, GTEx and others)",
        trained_on_tcga=True,
        licence="Owkin's non-commercial licence",
        source="owkin/phikon-v2",
        adapt=to_timm,
    ),
    # Nechaev et al., arXiv 2406.05074: 4 registers; the gated feed-forward is in their build_model
    # (github.com/HistAI/hibou): 2/3 of 4 x width, rounded up to a multiple of 8, twice
    _hibou_encoder(
        name="hibou_b",
        build=_vit(
            "vit_base_patch14_reg4_dinov2", swiglu=True, img_size=224, mlp_ratio=2 * 2048 / 768
        ),
        width=768,
        source="histai/hibou-b",
    ),
    _hibou_encoder(
        name="hibou_l",
        build=_vit(
            "vit_large_patch14_reg4_dinov2", swiglu=True, img_size=224, mlp_ratio=2 * 2736 / 1024
        ),
        width=1024,
        source="histai/hibou-L",
    ),
)
