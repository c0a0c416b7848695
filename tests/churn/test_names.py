"""Names of kinds of event in feature names: none replaces another."""

from __future__ import annotations

import numpy as np
import polars as pl

from linkwise.churn.features import FeatureSpec, feature_names, kind_codes
from linkwise.churn.models import Recency, recency_columns, silent_days
from linkwise.churn.words import is_share


def spec(*kinds: str) -> FeatureSpec:
    return FeatureSpec(
        feature_days=30, kinds=kinds, devices=(), duration=False, length=False, item=False,
        value=False, paid=False, clock=False,
    )  # fmt: skip


def test_codes_differ_and_keep_the_reports_letters() -> None:
    kinds = ("share", "--", "play", "Add_to_Cart", "Add to Cart", "all", "P", "event")
    codes = kind_codes(kinds)
    assert codes == [
        "share", "kind", "P", "Add_to_Cart", "Add_to_Cart_2", "all_2", "P_2", "event_2",
    ]  # fmt: skip
    assert kind_codes(("event",)) == ["event"]


def test_every_kind_has_all_its_features() -> None:
    clashing = feature_names(spec("share", "--", "play", "Add_to_Cart", "Add to Cart", "all", "P"))
    plain = feature_names(spec("a", "b", "c", "d", "e", "f", "g"))
    assert len(clashing) == len(plain) == len(set(clashing))


def test_a_kind_called_share_is_counted_not_a_share() -> None:
    assert not is_share("freq_share_last_14")
    assert not is_share("last_share_time_from_cutoff")
    assert is_share("share_7d_over_share_30d")
    assert is_share("repeat_share")
    assert is_share("time_percentage_larger_than_80")


def test_recency_follows_the_activity_that_counts() -> None:
    columns = recency_columns(spec("play", "Home", "download"), ("download", "play"))
    assert columns == ("last_D_time_from_cutoff", "last_P_time_from_cutoff")
    rows = pl.DataFrame({columns[0]: [3, None, None], columns[1]: [5, 7, None]})
    np.testing.assert_array_equal(silent_days(rows, columns), [3, 7, 8])
    np.testing.assert_array_equal(Recency(columns).score(rows), [3, 7, 8])
    assert recency_columns(spec("play"), ()) == ("last_event_time_from_cutoff",)
