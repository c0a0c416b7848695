"""Feature names and values in words."""

from __future__ import annotations

import pytest

from linkwise.churn.words import describe_feature, format_value


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
