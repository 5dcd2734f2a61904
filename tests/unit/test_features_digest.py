"""Feature digests: every field counts, and every process agrees."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker import codec
from glyph_worker.features.digest import (
    SHARED,
    FeatureRecipe,
    page_image_digest,
    tenant_salt,
)

texts = st.text(max_size=20)
NAMES = [field.name for field in fields(FeatureRecipe) if field.name != "num_tensors"]
recipes = st.builds(FeatureRecipe, num_tensors=st.integers(1, 4), **dict.fromkeys(NAMES, texts))


@given(recipe=recipes, page=texts, name=st.sampled_from(NAMES), other=texts)
def test_a_digest_changes_with_every_field(
    recipe: FeatureRecipe, page: str, name: str, other: str
) -> None:
    changed = replace(recipe, **{name: other})

    same = changed.feature_digest(page) == recipe.feature_digest(page)

    assert same == (getattr(recipe, name) == other)


@given(recipe=recipes, other=st.integers(1, 4))
def test_a_digest_changes_with_the_number_of_tensors(recipe: FeatureRecipe, other: int) -> None:
    changed = replace(recipe, num_tensors=other)

    same = changed.feature_digest("p") == recipe.feature_digest("p")

    assert same == (recipe.num_tensors == other)


@given(recipe=recipes, page=texts, other=texts)
def test_a_digest_changes_with_the_page(recipe: FeatureRecipe, page: str, other: str) -> None:
    assert (recipe.feature_digest(page) == recipe.feature_digest(other)) == (page == other)


@given(recipe=recipes, names=st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)))
def test_fields_cannot_stand_in_for_each_other(
    recipe: FeatureRecipe, names: tuple[str, str]
) -> None:
    first, second = names
    swapped = replace(recipe, **{first: getattr(recipe, second), second: getattr(recipe, first)})

    assert (swapped.feature_digest("p") == recipe.feature_digest("p")) == (swapped == recipe)


@given(recipe=recipes)
def test_a_recipe_travels_without_its_salt(recipe: FeatureRecipe) -> None:
    assert FeatureRecipe.from_wire(recipe.to_wire()) == recipe.salted(SHARED)


def test_a_recipe_of_another_release_is_none() -> None:
    recipe = FeatureRecipe(checkpoint="c", processor="p", encoder="e", dtype="d", device="cpu")
    newer = codec.unpack("feature_recipe", recipe.to_wire())

    for change in ({"wire": 99}, {"wire": 2}, {"num_tensors": 4}, {"colour": "new field"}):
        assert FeatureRecipe.from_wire(codec.pack("feature_recipe", newer | change)) is None


SCRIPT = """
from glyph_worker.features.digest import FeatureRecipe, tenant_salt
import sys
recipe = FeatureRecipe(checkpoint="c", processor="p", encoder="1", dtype="float16", device="cuda")
print(recipe.salted(tenant_salt("secret", "tenant", shared=False)).feature_digest("page"))
assert not {"torch", "numpy"} & set(sys.modules), "digests need no model"
"""


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_all_processes_agree(seed: str) -> None:
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert out.stdout.strip() == (
        FeatureRecipe(checkpoint="c", processor="p", encoder="1", dtype="float16", device="cuda")
        .salted(tenant_salt("secret", "tenant", shared=False))
        .feature_digest("page")
    )


def test_digests_of_this_release_are_what_they_were() -> None:
    """A change here orphans every cache in the field: raise WIRE_VERSION or a revision."""
    recipe = FeatureRecipe(
        checkpoint="c", processor="p", encoder="1", dtype="float16", device="cpu"
    )
    assert (
        recipe.feature_digest("page")
        == "2c0fbf0bc2998cabf917244273d0a4ac4594065bbb24fc0a87d3c5fee0dd0641"
    )


@given(secret=texts, tenants=st.tuples(texts, texts))
def test_tenants_have_salts_of_their_own_unless_they_share(
    secret: str, tenants: tuple[str, str]
) -> None:
    first, second = (tenant_salt(secret, tenant, shared=False) for tenant in tenants)
    assert (first == second) == (tenants[0] == tenants[1])
    assert first != SHARED
    assert tenant_salt(secret, tenants[0], shared=True) == SHARED


def test_salts_change_with_the_secret() -> None:
    assert tenant_salt("a", "t", shared=False) != tenant_salt("b", "t", shared=False)


def test_page_images_of_two_tenants_lie_apart() -> None:
    assert page_image_digest("p", "a") != page_image_digest("p", "b") != page_image_digest("p", "")


def test_an_announcement_that_is_no_recipe_is_none() -> None:
    good = FeatureRecipe(checkpoint="c", processor="p", encoder="1", dtype="float16", device="cpu")
    assert FeatureRecipe.from_wire(good.to_wire()) == good
    fields = codec.unpack("feature_recipe", good.to_wire())
    for wrong in ({"checkpoint": 7}, {"dtype": ["float16"]}, {"wire": None}, {"more": "x"}):
        assert FeatureRecipe.from_wire(codec.pack("feature_recipe", fields | wrong)) is None
