"""What made the results: encoder, configuration, software, whom to cite."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from wsi.storage import read_attributes


@dataclass(frozen=True)
class EncoderFacts:
    """What the feature files say about the encoder that made them."""

    name: str
    weights: str
    sha256: str
    licence: str
    trained_on_tcga: str
    precision: str
    width: int
    size: int
    target: float

    @property
    def random(self) -> bool:
        """Whether the weights were drawn and never trained."""
        return self.weights.startswith("random:")


def encoder_facts(root: Path, cohort: Sequence[Mapping[str, str]]) -> list[EncoderFacts]:
    """Return what the feature files of these rows of the cohort say; one entry if they agree."""
    found: dict[EncoderFacts, None] = {}
    for row in cohort:
        known = read_attributes(root / row["features"])
        facts = EncoderFacts(
            str(known.get("encoder", "not said")),
            str(known.get("weights", "not said")),
            str(known.get("weights_sha256", "not said")),
            str(known.get("licence", "")) or "not said",
            str(known.get("trained_on_tcga", "unknown")),
            str(known.get("precision", "not said")),
            int(row["width"]),
            int(known.get("size", 0)),
            float(known.get("target", 0)),
        )
        found[facts] = None
    return list(found)


def legacy_offsets(config: Mapping[str, Any]) -> list[str]:
    """Return a sentence if fine patches lie where AdvMIL's published code puts them."""
    if config["features"]["import"] or not config["patches"]["legacy_offsets"]:
        return []
    return [
        f"Fine patches were laid {config['patches']['size']} level-0 pixels apart, as AdvMIL's "
        "published code does (patches: legacy_offsets). Unless they are read at level 0, sixteen "
        "of them overlap in a corner of their coarse patch, and the rest of it was not encoded."
    ]


def mixed_weights(made_by: Mapping[str, Sequence[EncoderFacts]]) -> list[str]:
    """Return a sentence for each encoder whose feature files do not agree."""
    return [
        f"The features of {name} come from different weights or settings; remove its feature files "
        "and run again, so that all slides are encoded alike."
        for name, facts in made_by.items()
        if len(facts) > 1
    ]


def seen_before(made_by: Mapping[str, Sequence[EncoderFacts]], slides: Sequence[str]) -> list[str]:
    """Return a sentence for each encoder that learnt from TCGA, where TCGA's slides are judged."""
    if not any(slide.upper().startswith("TCGA-") for slide in slides):
        return []
    return [
        f"The encoder {name} was trained on slides of TCGA, and slides of this cohort are TCGA's: "
        "it may have seen them, so results here may be better than on new patients."
        for name, facts in made_by.items()
        if any(fact.trained_on_tcga == "yes" for fact in facts)
    ]


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration without what only this machine knows.

    The folder of the results goes, and of absolute paths the folders: neither changes a result.
    """

    def shown(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: shown(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [shown(inner) for inner in value]
        if isinstance(value, str) and PurePath(value).is_absolute():
            return PurePath(value).name
        return value

    return {key: shown(value) for key, value in config.items() if key != "results"}


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits of the portable configuration."""
    text = json.dumps(portable(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_text(config: Mapping[str, Any]) -> str:
    """Return the portable configuration as YAML."""
    return yaml.safe_dump(portable(config), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Work:
    """Something to cite; `link` is empty or an https address."""

    text: str
    link: str


def works_to_cite(citation: str | Path) -> list[Work]:
    """Return the software and the references that a CITATION.cff names."""
    content = yaml.safe_load(Path(citation).read_text())
    return [_work(entry) for entry in [content, *content.get("references", [])]]


def _work(entry: Mapping[str, Any]) -> Work:
    people = ", ".join(filter(None, (_person(person) for person in entry.get("authors", []))))
    year = str(entry.get("year") or str(entry.get("date-released", ""))[:4])
    place = ":".join(str(entry[key]) for key in ("volume", "start") if key in entry)
    number = f"Version {entry['version']}" if entry.get("version") else ""
    tail = ", ".join(filter(None, [entry.get("journal"), place, year, number]))
    parts = [people, str(entry.get("title", "")), tail]
    text = ". ".join(part.rstrip(".") for part in parts if part) + "."
    link = f"https://doi.org/{entry['doi']}" if entry.get("doi") else str(entry.get("url", ""))
    link = link or str(entry.get("repository-code", ""))
    return Work(text, link if re.match("https?://", link) else "")


def _person(person: Mapping[str, str]) -> str:
    initials = "".join(name[0] for name in str(person.get("given-names", "")).split())
    return " ".join(filter(None, [person.get("family-names") or person.get("name"), initials]))
