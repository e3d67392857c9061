"""Which files of a folder belong to which slide; nothing is opened."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from wsi.layouts.registry import LAYOUTS

Files = dict[str, str]  # kind of file (h5, pt, patches) -> path


class ImportFolderError(ValueError):
    """A folder of features cannot be used; the message is one sentence a line."""

    is_sentence = True


def find_imported(
    folder: str,
    layout: str,
    encoder: str,
    slides: Mapping[str, str],
    max_missing: float,
    patches: Mapping[str, str] | None = None,
) -> dict[str, Files]:
    """Return the files of every slide, found by its id, else by the name of its file.

    Parameters
    ----------
    folder, layout : ``features.import``, which exists, and ``features.layout``.
    encoder : name of the encoder; TRIDENT's folder is ``features_<encoder>``.
    slides : id -> path of the slide's file, which may be empty.
    max_missing : share of slides that may have no file; theirs is an empty dictionary.
    patches : id -> file of coordinates that the slide table names.

    Raises
    ------
    ImportFolderError
        Nothing of the layout is in it, two slides share a file, nothing says where patches lie, or
        more slides have no file.
    """
    listed = LAYOUTS[layout].list_files(Path(folder), encoder)
    if not listed:
        there = sorted(path.name for path in islice(Path(folder).iterdir(), 6))
        raise ImportFolderError(
            f"features.import is {folder}; it has no file of features in the layout {layout} "
            f"({LAYOUTS[layout].WHERE}). It has: {', '.join(there) or 'nothing'}."
        )
    found: dict[str, Files] = {}
    for slide, path in slides.items():
        name = slide if slide in listed else Path(path).stem
        found[slide] = dict(listed.get(name, {}))
        if found[slide] and patches and slide in patches:
            found[slide]["patches"] = patches[slide]
    _refuse_shared(found)
    _refuse_without_places(found, folder)
    _refuse_missing(found, slides, folder, max_missing, listed)
    return found


def _refuse_shared(found: Mapping[str, Files]) -> None:
    owner: dict[str, str] = {}
    wrong = []
    for slide, files in found.items():
        for kind in ("h5", "pt"):
            first = owner.setdefault(files.get(kind, slide), slide)
            if first != slide:
                wrong.append(
                    f"slides {first} and {slide} would both have the features {files[kind]}; name "
                    "the files by slide_id, so that each slide has its own."
                )
    if wrong:
        raise ImportFolderError("\n".join(wrong))


def _refuse_without_places(found: Mapping[str, Files], folder: str) -> None:
    with_features = [files for files in found.values() if files]
    if with_features and not any("h5" in files or "patches" in files for files in with_features):
        raise ImportFolderError(
            f"features.import is {folder}; it has .pt files only, and nothing says where their "
            "patches lie: without that there are no graphs, no regions and no heatmaps. Put CLAM's "
            "folder patches into it or beside it, or its h5_files into it, or name each slide's "
            "file of coordinates in column patches of the slide table."
        )


def _refuse_missing(
    found: Mapping[str, Files],
    slides: Mapping[str, str],
    folder: str,
    max_missing: float,
    listed: Mapping[str, Files],
) -> None:
    missing = [slide for slide, files in found.items() if not files]
    if len(missing) > max_missing * len(found):
        example = min(listed)
        raise ImportFolderError(
            "\n".join(
                f"slide {slide}: {looked_for(slide, slides[slide])} in features.import ({folder}), "
                f"which has, for example, {example}; mend the slide table, or name the slide under "
                "exclude."
                for slide in missing[:20]
            )
            + (f"\n... and {len(missing) - 20} more." if len(missing) > 20 else "")
        )


def looked_for(slide: str, path: str) -> str:
    """Return what was looked for in vain, in words."""
    stem = Path(path).stem
    also = f" nor {stem}" if stem and stem != slide else ""
    return f"there is no file of features named {slide}{also}"
