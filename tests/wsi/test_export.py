import shutil

import h5py
import numpy as np
import pytest

from tests.wsi.stage_runs import run_stages
from wsi.coordinate_files import read_coordinates
from wsi.export import export_clam

TISSUE = (190, 110, 170)


@pytest.fixture(scope="module")
def results(make_slide, glass, tmp_path_factory):
    """Two slides as a run leaves them: one with tissue, one without."""
    folder = tmp_path_factory.mktemp("run")
    blank, rgb = glass(4096, 6144), glass(4096, 6144)
    rgb[1024:3072, 1024:4096] = TISSUE
    run_stages(make_slide(folder / "blank.tiff", blank), folder / "results", "S2")
    slide = make_slide(folder / "TCGA-A1-1234.01.tiff", rgb)
    done = run_stages(slide, folder / "results", "S1")
    for level in ("level1", "level2"):
        shutil.copytree(folder / "results" / level, folder / "results/patches" / level)
    (folder / "results/process_list_autogen.csv").write_text("slide_id\n")
    return folder / "results", done


@pytest.mark.parametrize("level", [2, 1])
def test_the_folder_is_what_clam_makes(results, tmp_path, level):
    folder, done = results
    export_clam(results=str(folder), to=str(tmp_path), level=level)
    (file,) = (tmp_path / "patches").iterdir()  # a slide without patches has none, as with CLAM
    assert file.name == "TCGA-A1-1234.01.h5"
    found = read_coordinates(file)
    arrays, attributes = done.level(level)
    np.testing.assert_array_equal(found.coords, arrays["coords"])
    assert len(found.coords) == {2: 6, 1: 96}[level]
    assert found.layout == "clam"
    assert found.footprint0 == (attributes["footprint0"],) * 2
    with h5py.File(file) as opened:
        dataset = opened["coords"]
        assert (dataset.maxshape, dataset.chunks) == ((None, 2), (1, 2))
        assert dataset.attrs["name"] == "TCGA-A1-1234.01"
        assert dataset.attrs["patch_level"] == {2: 2, 1: 1}[level]
        assert dataset.attrs["save_path"] == str(tmp_path / "patches")
    assert (tmp_path / "process_list_autogen.csv").read_text() == "slide_id\n"


def test_a_folder_without_patches_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="has no patches; run snakemake patches first"):
        export_clam(results=str(tmp_path), to=str(tmp_path / "clam"))
