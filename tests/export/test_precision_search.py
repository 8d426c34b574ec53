"""Groups of layers, and the search for those to keep in higher precision."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest

from export.parity import THRESHOLDS, ParityResult
from export.precision.groups import layer_groups
from export.precision.search import Choice, choose

GROUPS = {name: (f"{name}/Conv", f"{name}/Relu") for name in "abcdefgh"}


def model_keeping(kept: frozenset[str]) -> onnx.ModelProto:
    return onnx.ModelProto(doc_string=" ".join(sorted(kept)))


def lowered_groups(model: onnx.ModelProto) -> set[str]:
    kept = set(model.doc_string.split())
    partly = {name for name, nodes in GROUPS.items() if 0 < len(kept & set(nodes)) < len(nodes)}
    assert not partly
    return {name for name, nodes in GROUPS.items() if not kept & set(nodes)}


def result_of(severity: float) -> ParityResult:
    limit = THRESHOLDS["fp16"].box_error_px_median
    figures = {"box_error_px_median": severity * limit, "score_error": 0.0}
    return ParityResult("fp16", 1, 1, figures, THRESHOLDS["fp16"], "x")


class Fake:
    """Graphs whose severity is that of the groups lowered, and a record of what was asked."""

    def __init__(
        self, costs: dict[str, float], total: Callable[[set[str]], float] | None = None
    ) -> None:
        self.costs = costs
        self.total = total or (lambda lowered: sum(costs.get(name, 0.0) for name in lowered))
        self.judged: list[set[str]] = []
        self.probed: list[set[str]] = []

    def judge(self, model: onnx.ModelProto) -> ParityResult:
        self.judged.append(lowered_groups(model))
        return result_of(self.total(self.judged[-1]))

    def probe(self, model: onnx.ModelProto) -> ParityResult:
        self.probed.append(lowered_groups(model))
        return result_of(sum(self.costs.get(name, 0.0) for name in self.probed[-1]))

    def choose(self, limit: float = 1.0, work: dict[str, float] | None = None) -> Choice:
        return choose(
            GROUPS, model_keeping, self.judge, self.probe, describe="x", limit=limit, work=work
        )


def test_no_nodes_are_no_groups() -> None:
    assert layer_groups([]) == {}


def test_nothing_to_keep_leaves_the_first_verdict() -> None:
    fake = Fake({}, total=lambda lowered: 3.0)
    choice = choose({}, model_keeping, fake.judge, fake.probe, describe="x")
    assert (choice.kept, choice.sensitivities, choice.result.passed) == ((), {}, False)


def test_what_passes_at_once_is_not_measured_further() -> None:
    fake = Fake({"a": 0.4})
    choice = fake.choose()
    assert choice.kept == () and choice.sensitivities == {} and choice.result.passed
    assert fake.judged == [set(GROUPS)] and not fake.probed


@pytest.mark.parametrize("harmful", ["c", "ge", "fab", "hgfed", "abcdefgh"])
def test_the_fewest_groups_are_kept_the_most_sensitive_first(harmful: str) -> None:
    costs = dict.fromkeys(GROUPS, 0.001) | {
        name: 2.0 + len(harmful) - place for place, name in enumerate(harmful)
    }
    fake = Fake(costs)
    choice = fake.choose()
    assert choice.kept == tuple(harmful)
    assert choice.result.passed
    assert lowered_groups(choice.model) == set(GROUPS) - set(harmful)
    assert fake.probed == [{name} for name in GROUPS]
    assert list(choice.sensitivities) == sorted(costs, key=lambda name: -costs[name])
    assert choice.sensitivities[harmful[0]] == pytest.approx(costs[harmful[0]])
    # No number of kept groups is judged twice.
    assert len({len(lowered) for lowered in fake.judged}) == len(fake.judged)


def test_where_keeping_is_dear_harm_counts_by_the_work_it_saves() -> None:
    costs = dict.fromkeys(GROUPS, 0.001) | {"a": 0.9, "b": 0.5, "c": 0.4}
    assert Fake(costs).choose().kept == ("a",)
    work = dict.fromkeys(GROUPS, 1.0) | {"a": 100.0, "b": 2.0}
    choice = Fake(costs).choose(work=work)
    assert choice.kept == ("c", "b") and choice.result.passed
    assert next(iter(choice.sensitivities)) == "c"


def test_room_is_left_where_it_can_be_had() -> None:
    costs = {"a": 0.9, "b": 0.4, "c": 0.2}
    assert Fake(costs).choose(limit=1.0).kept == ("a",)
    assert Fake(costs).choose(limit=0.5).kept == ("a", "b")
    # Severity that no choice gets rid of: keeping more would gain nothing.
    fake = Fake(costs, total=lambda lowered: 1.2 if len(lowered) > 6 else 0.8)
    choice = fake.choose(limit=0.5)
    assert choice.result.passed and choice.kept == ("a", "b")


def test_more_kept_can_be_worse_and_what_is_returned_has_passed() -> None:
    costs = {name: 1.0 - 0.1 * place for place, name in enumerate(GROUPS)}
    for passing in ({1}, {2, 5}, {3}, {4, 8}, {5}, {6, 7}, {8}):

        def total(lowered: set[str], passing: set[int] = passing) -> float:
            return 0.5 if len(GROUPS) - len(lowered) in passing else 1.5

        fake = Fake(costs, total)
        choice = fake.choose()
        assert lowered_groups(choice.model) in fake.judged
        assert choice.result.severity == pytest.approx(fake.total(lowered_groups(choice.model)))
        seen = {len(GROUPS) - len(lowered) for lowered in fake.judged}
        assert choice.result.passed == bool(seen & passing)
        if choice.result.passed:
            assert len(choice.kept) == min(seen & passing)


def test_where_nothing_passes_the_least_bad_is_returned() -> None:
    fake = Fake({"a": 5.0}, total=lambda lowered: 1.2 if len(lowered) == 6 else 3.0)
    choice = fake.choose()
    assert not choice.result
    assert choice.result.severity == pytest.approx(1.2)
    assert len(choice.kept) == 2
    # Everything kept has been tried before giving up.
    assert set() in fake.judged


def test_a_group_that_breaks_the_graph_is_the_most_sensitive() -> None:
    costs = {"d": float("nan"), "b": 3.0}
    choice = Fake(costs).choose()
    assert choice.kept == ("d", "b")
    assert choice.sensitivities["d"] == float("inf")


def test_every_node_is_in_one_group_whatever_the_number() -> None:
    names = [
        f"body.{stage}.{block}.{layer}/{operator}"
        for stage in range(4)
        for block in range(5)
        for layer in ("first", "second")
        for operator in ("Conv", "Relu")
    ] + ["peaks/TopK", "Exp", "Exp_2"]
    for most in (100, 43, 42, 20, 7, 4):
        groups = layer_groups(names, most)
        assert len(groups) <= most
        assert sorted(name for nodes in groups.values() for name in nodes) == sorted(names)
        assert groups == layer_groups(names, most)
    assert len(layer_groups(names, 43)) == 43
    # A layer of the body goes before all that stands on its own.
    assert set(layer_groups(names, 4)) == {"body", "peaks", "Exp", "Exp_2"}
    assert set(layer_groups(names, 1)) == {"body", "peaks", "Exp", "Exp_2"}


def test_small_parts_are_joined_first_and_a_part_takes_in_what_lies_in_it() -> None:
    names = ["a.x.1/C", "a.x.2/C", "a.y.1/C", "a.y.2/C", "a.y.3/C", "a.y/Add", "ab.1/C"]
    assert list(layer_groups(names, 6)) == ["a.x", "a.y.1", "a.y.2", "a.y.3", "a.y", "ab.1"]
    groups = layer_groups(names, 5)
    assert groups["a.y"] == ("a.y.1/C", "a.y.2/C", "a.y.3/C", "a.y/Add")
    assert groups["ab.1"] == ("ab.1/C",)


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two nodes are named a/Conv"):
        layer_groups(["a/Conv", "a/Conv"])
