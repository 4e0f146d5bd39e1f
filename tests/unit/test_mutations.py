"""The table of guards fits the code: what each would change is there, and so is the test that it names."""

import pytest

from tests.chaos.mutations import MUTATIONS, Mutation
from tests.tree import ROOT


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.name.replace(" ", "-"))
def test_each_guard_is_where_the_table_says_and_has_its_test(one: Mutation) -> None:
    assert (ROOT / one.file).read_text("utf-8").count(one.old) == 1
    path, _, name = one.test.partition("::")
    assert f"def {name}" in (ROOT / path).read_text("utf-8")
