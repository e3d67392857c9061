import cv2
import numpy as np
import pytest

from wsi.reader import Slide
from wsi.scale import find_mpp
from wsi.stain import outliers, stain_statistics

GLASS = np.array((242, 240, 243), float)
HAEMATOXYLIN = np.array([0.60, 0.72, 0.34]) / np.linalg.norm([0.60, 0.72, 0.34])
EOSIN = np.array([0.10, 0.90, 0.42]) / np.linalg.norm([0.10, 0.90, 0.42])
BROWN = np.array([0.27, 0.57, 0.78]) / np.linalg.norm([0.27, 0.57, 0.78])


def slide(seed=0, stains=(HAEMATOXYLIN, EOSIN), amounts=(0.3, 0.25), glass=GLASS, side=300):
    """A picture with known amounts of two stains in the tissue, and its mask."""
    rng = np.random.default_rng(seed)
    tissue = np.zeros((side, side), bool)
    tissue[side // 10 : -side // 10, side // 10 : -side // 10] = True
    density = np.zeros((side, side, 3))
    for stain, amount in zip(stains, amounts, strict=True):
        here = amount * rng.exponential(1, (side, side)).clip(0, 2.5)
        density += (here * tissue)[..., None] * stain
    return np.clip(np.rint(glass * 10**-density), 0, 255).astype(np.uint8), tissue


def angle(statistics, stain, vector):
    found = [statistics[f"vector_{stain}_{channel}"] for channel in ("red", "green", "blue")]
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    return np.degrees(np.arccos(np.dot(found, vector)))


def cohort(n=12):
    rng = np.random.default_rng(5)
    return {
        f"S{i:02}": stain_statistics(*slide(i, amounts=rng.uniform(0.2, 0.35, 2)), 0)
        for i in range(n)
    }


def test_the_vectors_and_amounts_that_were_drawn_are_found():
    rgb, tissue = slide()
    found = stain_statistics(rgb, tissue, 0)
    assert angle(found, "haematoxylin", HAEMATOXYLIN) < 3
    assert angle(found, "eosin", EOSIN) < 3
    expected = {"haematoxylin": 0.3, "eosin": 0.25}
    exponential = np.random.default_rng(0).exponential(1, 10**6).clip(0, 2.5)
    for stain, amount in expected.items():
        # pixels too pale to have a hue are left out, so the rest is a little denser
        assert found[f"density_{stain}"] == pytest.approx(amount * exponential.mean(), rel=0.15)
        assert found[f"spread_{stain}"] == pytest.approx(amount * exponential.std(), rel=0.15)
    assert [found[f"glass_{name}"] for name in ("red", "green", "blue")] == list(GLASS)


def test_channel_densities_are_those_of_the_pixels():
    rgb, tissue = slide(amounts=(0.6, 0.5))
    rgb[tissue] = rgb[tissue] // 2  # every pixel absorbs enough to count
    density = np.log10((GLASS + 1) / (rgb[tissue] + 1.0))
    found = stain_statistics(rgb, tissue, 0)
    for i, name in enumerate(("red", "green", "blue")):
        assert found[f"density_{name}"] == pytest.approx(density[:, i].mean(), rel=1e-3)
        assert found[f"spread_{name}"] == pytest.approx(density[:, i].std(), rel=1e-3)


def test_the_seed_makes_it_the_same_and_the_sample_is_representative():
    rgb, tissue = slide(side=600)
    assert tissue.sum() > 100_000
    first, again, other = (stain_statistics(rgb, tissue, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    for name, value in first.items():
        assert value == pytest.approx(other[name], abs=0.01)


def test_the_white_point_can_be_given():
    rgb, tissue = slide()
    found = stain_statistics(rgb, tissue, 0, white=np.array([255, 255, 255]))
    assert found["glass_red"] == 255
    assert found["density_red"] > stain_statistics(rgb, tissue, 0)["density_red"]


def test_too_little_tissue_is_none():
    rgb, tissue = slide()
    few = np.zeros_like(tissue)
    few[100:110, 100:120] = True
    assert stain_statistics(rgb, few, 0) is None
    assert stain_statistics(rgb, np.zeros_like(tissue), 0) is None
    assert stain_statistics(np.full_like(rgb, 242), tissue, 0) is None  # pale: nothing to measure


@pytest.mark.parametrize("colour", [(200, 120, 170), (0, 0, 0), (90, 90, 90)])
def test_one_colour_gives_numbers(colour):
    rgb, tissue = slide()
    rgb[tissue] = colour
    found = stain_statistics(rgb, tissue, 0)
    assert np.isfinite(list(found.values())).all()
    assert max(abs(value) for name, value in found.items() if "glass" not in name) < 10


def test_the_amounts_of_a_single_stain_stay_near_its_density():
    rgb, tissue = slide(stains=(EOSIN, EOSIN))
    found = stain_statistics(rgb, tissue, 0)
    total = np.linalg.norm([found[f"density_{name}"] for name in ("red", "green", "blue")])
    assert 0 <= found["density_haematoxylin"] <= total
    assert 0 <= found["density_eosin"] <= total
    assert found["spread_haematoxylin"] < total


def test_a_cohort_of_one_laboratory_has_no_outlier():
    assert outliers(cohort()) == {}


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        ({"stains": (HAEMATOXYLIN, BROWN)}, "stain vector of"),
        ({"glass": GLASS * (1, 0.95, 0.8)}, "blue of bare glass"),
        ({"amounts": (1.1, 0.9)}, "optical density"),
    ],
    ids=["another stain", "white balance", "far too dark"],
)
def test_another_stain_white_balance_or_strength_is_found_and_named(odd, named):
    table = cohort()
    table["odd"] = stain_statistics(*slide(99, **odd), 0)
    found = outliers(table)
    assert list(found) == ["odd"]
    assert named in found["odd"]
    assert "the median of the cohort is" in found["odd"]
    assert found["odd"].endswith("Look at the slide.")


def test_the_sentence_tells_value_and_median():
    table = {f"S{i}": {"glass_red": 240.0, "density_eosin": 0.25} for i in range(9)}
    table["S3"] = {"glass_red": 240.0, "density_eosin": 0.75}
    assert outliers(table) == {
        "S3": "mean optical density of eosin: 0.75, the median of the cohort is 0.25. Another "
        "stain, scanner or white balance? Look at the slide."
    }
    table["S3"] = {"glass_red": 243.0, "density_eosin": 0.30}  # alike, if not the same
    assert outliers(table) == {}


def test_few_slides_have_no_outlier_and_slides_without_numbers_do_not_count():
    table = cohort(6)
    table["odd"] = stain_statistics(*slide(99, stains=(HAEMATOXYLIN, BROWN)), 0)
    table |= {"none 1": None, "none 2": None}
    assert outliers(table) == {}
    assert outliers({}) == {}


@pytest.mark.realdata
def test_real_organs_and_laboratories_are_alike_and_altered_slides_are_not(real_slides):
    pictures = {}
    core = np.zeros((256, 256), bool)
    core[68:188, 68:188] = True  # the rest is invented glass
    for path in sorted((real_slides / "monuseg_padded").glob("*.tiff")):
        with Slide(path) as opened:
            pictures[path.stem] = opened.overview(2.0 / find_mpp(opened)[0])
    table = {name: stain_statistics(rgb, core, 0) for name, rgb in pictures.items()}
    assert len(table) == 24
    assert outliers(table) == {}
    altered = {
        "warm": lambda rgb: (rgb * (1, 0.95, 0.8)).astype(np.uint8),
        "other stain": lambda rgb: np.ascontiguousarray(rgb[..., [1, 2, 0]]),
        "no colour": lambda rgb: cv2.cvtColor(
            cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB
        ),
    }
    for kind, alter in altered.items():
        for name in list(pictures)[::6]:
            odd = table | {name: stain_statistics(alter(pictures[name]), core, 0)}
            assert name in outliers(odd), (kind, name)
