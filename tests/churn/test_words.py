"""Feature names and values in words."""

from __future__ import annotations

import pytest

from linkwise.churn.words import describe_feature, format_value, reason, theme


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("freq_P_last_7", "Plays in the last 7 days"),
        ("freq_S_last_1", "Searches in the last day"),
        ("freq_Submit_Upgrade_last_14", '"Submit Upgrade" events in the last 14 days'),
        ("last_D_time_from_cutoff", "Days since the last of the downloads"),
        ("last_event_time_from_cutoff", "Days since the last event"),
        ("P_7d_over_P_30d", "Share of 30 days' plays that fell in the last 7"),
        ("total_play_time_7d_over_30d", "Share of 30 days' play time that fell in the last 7"),
        (
            "time_percentage_larger_than_80_7d_over_30d",
            "Share of 30 days' plays heard past 80 % that fell in the last 7",
        ),
        ("time_percentage_20_to_40", "Share of plays broken off at 20 to 40 %"),
        ("device_ip", "Mostly on device ip"),
        ("evening_share", "Share of events in the evening"),
    ],
)
def test_names(name: str, words: str) -> None:
    assert describe_feature(name) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("repeat_share", 0.256, "26 %"),
        ("P_7d_over_P_30d", 0.5, "50 %"),
        ("total_play_time", 45.2, "45 s"),
        ("total_play_time", 765, "12.8 min"),
        ("total_play_time", 20226, "5.6 h"),
        ("mean_gap_days", 4 / 3, "1.33 days"),
        ("last_P_time_from_cutoff", 1, "1 day"),
        ("active_days", 5, "5"),
        ("freq_P_last_30", 1234, "1,234"),
        ("total_value", 9.49, "9.49"),
    ],
)
def test_values(name: str, value: float, words: str) -> None:
    assert format_value(name, value) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("last_P_time_from_cutoff", 12, "no plays for 12 days"),
        ("last_event_time_from_cutoff", 1, "no events for 1 day"),
        ("last_S_time_from_cutoff", 0, "searches up to the last day"),
        ("last_D_time_from_cutoff", None, "no downloads at all"),
        ("freq_P_last_7", 0, "no plays in the last 7 days"),
        ("freq_S_last_1", 1, "1 search on the last day"),
        ("freq_P_last_7", 1, "1 play in the last 7 days"),
        ("freq_event_last_7", 1, "1 event in the last 7 days"),
        ("freq_Logout_last_7", 1, '1 "Logout" event in the last 7 days'),
        ("freq_Home_last_14", 1234, '1,234 "Home" events in the last 14 days'),
        ("P_7d_over_P_30d", 0.031, "3 % of 30 days' plays fell in the last 7"),
        ("D_7d_over_D_30d", None, "no downloads in 30 days"),
        ("total_play_time_7d_over_30d", 0, "0 % of 30 days' play time fell in the last 7"),
        ("trend_slope", -0.54, "activity falling, each day by 0.54 events a day"),
        ("trend_slope", -0.0001, "activity slightly falling"),
        ("trend_slope", 0, "activity level"),
        ("mean_gap_days", None, "active on one day only"),
        ("mean_gap_days", 1.25, "1.25 days from one active day to the next"),
        ("sd_gap_days", None, "active on fewer than three days"),
        ("active_days", 1, "active on one day only"),
        ("tenure_days", 19, "first seen 19 days ago"),
        ("time_percentage_0_to_20", None, "no plays of known length"),
        ("device_ip", 1, "mostly on device ip"),
        ("repeat_share", 0.6, "share of repeats: 60 %"),
        ("average_value", None, "no average value of an event"),
    ],
)
def test_reasons(name: str, value: float | None, words: str) -> None:
    assert reason(name, value) == words


def test_reasons_that_tell_the_same() -> None:
    silence = theme("last_P_time_from_cutoff", 12)
    assert theme("freq_P_last_7", 0) == theme("freq_P_last_14", 0) == silence
    assert theme("last_P_time_from_cutoff", None) == silence
    others = [
        theme("freq_P_last_7", 3),
        theme("last_P_time_from_cutoff", 0),
        theme("freq_D_last_7", 0),
        theme("freq_all_last_7", 0),
        theme("P_7d_over_P_30d", 0),
    ]
    assert len({silence, *others}) == 6
