"""What a heatmap's caption says of a patient whose label is predicted."""

import pandas as pd

from mil.labelled.ranking import ranked
from mil.tasks import task_of


def of(name, columns, classes, **cells):
    task = task_of({"name": name, "columns": columns, "classes": classes, "unit": "patient"})
    found = ranked(pd.DataFrame(cells), task)
    return found.value.tolist(), found.said, found.seen


def test_two_classes():
    cells = {"g": ["no"], "probability_no": [0.25], "probability_yes": [0.75]}
    assert of("classification", ["g"], ["no", "yes"], **cells) == (
        [0.75], ["probability of yes 0.75"], ["truth: no"]
    )  # fmt: skip


def test_more_classes_are_ordered_from_right_to_wrong_and_grades_by_themselves():
    cells = {"g": ["a"], "probability_a": [0.2], "probability_b": [0.5], "probability_c": [0.3]}
    said, seen = ["predicted b (50%)"], ["truth: a"]
    assert of("classification", ["g"], ["a", "b", "c"], **cells) == ([0.2], said, seen)
    assert of("ordinal", ["g"], ["a", "b", "c"], **cells) == ([0.5 + 2 * 0.3], said, seen)


def test_several_labels_and_numbers():
    cells = {"k": ["1"], "l": ["0"], "probability_k": [0.9], "probability_l": [0.1]}
    assert of("classification", ["k", "l"], ["0", "1"], **cells) == (
        [0.9], ["probability of k 0.90"], ["truth: k 1, l 0"]
    )  # fmt: skip
    assert of("regression", ["size"], [], size=[3.5], predicted=[4.0]) == (
        [4.0], ["predicted 4"], ["measured 3.5"]
    )  # fmt: skip
