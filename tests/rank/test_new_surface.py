"""Logs made into surfaces: the tables, the task file as it is read back, what is said of wrong input."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from linkwise.cli import main
from linkwise.data.movielens_users import read_users
from linkwise.data.schema import InputConfig
from linkwise.errors import InputError, UsageError
from linkwise.rank.config import NewSurfaceConfig
from linkwise.rank.new_surface import NewSurface, new_surface
from linkwise.rank.new_task import past_of, plural
from linkwise.rank.study import simulated
from linkwise.rank.surface import read_surface
from linkwise.rank.task import read_task

RATINGS = """userId,movieId,rating,timestamp
1,31,2.5,1260759144
1,10,4.0,1260759100
2,31,5.0,1260759000
2,50,3.5,1260759002
2,10,4.5,1260759001
"""
MOVIES = """movieId,title,genres
10,"Matrix, The (1999)",Action|Sci-Fi
31,Heat (1995),(no genres listed)
77,Ran (1985),Drama
50,"Guard, The (2011)",Comedy
"""
TAGS = """userId,movieId,tag,timestamp
2,10,clever,1260759300
2,10,slow,1260759200
2,77,sad,1260759400
"""
PLOTS = "movie_id,plot,actors\n10,A hacker learns.,Reeves\n31,N/A,Pacino\n"
MOVIELENS = InputConfig(schema="movielens")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "ml"
    folder.mkdir()
    for name, text in (("ratings.csv", RATINGS), ("movies.csv", MOVIES)):
        (folder / name).write_text(text)
    (tmp_path / "plots.csv").write_text(PLOTS)
    return folder


def plain(tmp_path: Path, text: str) -> Path:
    """A log of its own, and titles of a, b and c."""
    (tmp_path / "titles.csv").write_text("id,title\na,Apple\nb,Pear\nc,Plum\n")
    path = tmp_path / "log.csv"
    path.write_text(text)
    return path


def made(log: Path, input_config: InputConfig = MOVIELENS, **values: object) -> NewSurface:
    config = NewSurfaceConfig.model_validate({"noun": "movie", **values})
    return new_surface([str(log)], input_config, config, log.parent / "out", seed=1)


def test_ratings_become_likes(log: Path) -> None:
    found = made(log)
    out = log.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "events.parquet",
        "items.parquet",
        "tasks",
    ]
    assert [path.name for path in found.tasks] == ["like.toml"]
    assert (found.member, found.n_members, found.n_items, found.n_events) == ("2", 2, 4, 5)
    items = pl.read_parquet(out / "items.parquet")
    assert sorted(items.rows()) == [
        ("10", "The Matrix (1999)", "Action, Sci-Fi"),
        ("31", "Heat (1995)", None),
        ("50", "The Guard (2011)", "Comedy"),
        ("77", "Ran (1985)", "Drama"),
    ]
    events = pl.read_parquet(out / "events.parquet")
    assert events.drop("time").rows() == [
        ("1", "10", 4.0),
        ("1", "31", 2.5),
        ("2", "31", 5.0),
        ("2", "10", 4.5),
        ("2", "50", 3.5),
    ]
    assert events["time"].dt.epoch("s").to_list()[:2] == [1260759100, 1260759144]
    task = read_task(found.tasks[0])
    assert task.said(task.answer["no"]) == "The member will not like it"
    assert task.item.template == "[Title: {title}, Genres: {genres}]"
    surface = read_surface(task)
    assert surface.clock
    assert len(surface) == 5
    assert (surface.labels() == surface.yes).tolist() == [True, False, True, True, False]
    text = found.tasks[0].read_text()
    assert "give it a rating of 4 or more?\n# Ratings go from 2.5 to 5." in text
    assert max(map(len, text.splitlines())) < 200


def test_the_line_between_ratings_is_the_users(log: Path) -> None:
    surface = read_surface(read_task(made(log, at_least=4.5, action="love").tasks[0]))
    assert surface.task.name == "love"
    assert (surface.labels() == surface.yes).tolist() == [False, False, True, True, False]


def test_tags_are_a_second_task(log: Path) -> None:
    (log / "tags.csv").write_text(TAGS)
    found = made(log / "ratings.csv")
    assert [path.name for path in found.tasks] == ["like.toml", "tag.toml"]
    surface = read_surface(read_task(found.tasks[1]))
    # Member 1 never tags; of member 2 what was tagged, at its first tag, and what was rated alone.
    names = [surface.items["id"][int(i)] for i in surface.item]
    assert names == ["31", "50", "10", "77"]
    assert (surface.labels() == surface.yes).tolist() == [False, False, True, True]
    assert surface.time.tolist()[2] == 1260759200 * 10**6
    assert len(read_surface(read_task(found.tasks[0]))) == 5


def test_texts_join_by_id(log: Path) -> None:
    plots = str(log.parent / "plots.csv")
    found = made(log, texts=plots, text_column=("plot", "actors"))
    items = pl.read_parquet(log.parent / "out" / "items.parquet").sort("id")
    assert items["plot"].to_list() == ["A hacker learns.", None, None, None]  # N/A is no plot
    assert items["actors"].to_list() == ["Reeves", "Pacino", None, None]
    assert "3 of 4 items have no plot." in found.notes
    task = read_task(found.tasks[0])
    assert task.item.template.endswith("Plot: {plot}, Actors: {actors}]")
    assert task.item.tokens == 128
    assert "text.plot" in read_surface(task).items.columns


def test_members_are_described_where_a_table_says_something(log: Path) -> None:
    (log.parent / "people.csv").write_text("user_id,age\n2,35\n9,50\n")
    found = made(log, members=str(log.parent / "people.csv"), member_column="age")
    surface = read_surface(read_task(found.tasks[0]))
    assert surface.task.member.template == "Age: {age}."
    assert surface.members.rows() == [("1", None), ("2", "35")]
    assert found.notes[-1].startswith("nothing is said of 1 of 2 members in ")


def test_the_users_of_movielens_are_said_in_words(log: Path) -> None:
    users = log.parent / "users.dat"
    users.write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    made(log, members=str(users), member_column="age,occupation")
    members = pl.read_parquet(log.parent / "out" / "members.parquet")
    assert members.rows() == [
        ("1", "under 18", "K-12 student"),
        ("2", "56 or older", "self-employed"),
    ]
    users.write_text("1::F::1\n")
    with pytest.raises(
        InputError, match=r"users.dat line 1: 3 fields between ::; expected 5, userId"
    ):
        read_users(users)


KINDS = "who,what,when,did\nu,a,2026-01-02,view\nu,b,2026-01-03,add to cart\nv,a,2026-01-01,view\n"
NAMED = InputConfig(user="who", item="what", time="when")


def test_kinds_of_events_are_actions(tmp_path: Path) -> None:
    log = plain(tmp_path, KINDS)
    config = NAMED.model_copy(update={"event": "did"})
    found = made(log, config, action="add to cart", titles=str(tmp_path / "titles.csv"))
    assert found.tasks[0].name == "add-to-cart.toml"
    task = read_task(found.tasks[0])
    assert (task.name, task.action, list(task.actions)) == (
        "add-to-cart",
        "add to cart",
        ["add to cart", "view"],
    )
    assert task.actions["view"].past == "viewed"
    surface = read_surface(task)
    assert surface.clock
    assert (surface.labels() == surface.yes).tolist() == [False, True, False]


def test_titles_of_the_log_itself_and_its_being_simulated(tmp_path: Path) -> None:
    log = plain(
        tmp_path, "who,what,when,stars,called\nu,a,1,5,Apple\nu,b,2,1,Pear\nv,a,3,3,An apple\n"
    )
    config = InputConfig(user="who", item="what", position="when", value="stars", text="called")
    (tmp_path / "README").write_text("This log is simulated.\n")
    surface = read_surface(read_task(made(log, config).tasks[0]))
    assert sorted(surface.items.rows()) == [("a", "An apple"), ("b", "Pear")]
    assert simulated([surface])


def test_a_value_beside_kinds_is_an_amount(tmp_path: Path) -> None:
    log = plain(tmp_path, "who,what,when,did,paid\nu,a,1,view,\nu,b,2,buy,9.5\n")
    config = InputConfig(user="who", item="what", position="when", event="did", value="paid")
    found = made(log, config, action="buy", titles=str(tmp_path / "titles.csv"))
    assert (found.n_events, read_task(found.tasks[0]).data.rated) == (2, None)


def test_lists_are_read_and_items_drawn_beside_what_was_chosen(tmp_path: Path) -> None:
    ids = ["a", "b", "c"]
    (tmp_path / "titles.csv").write_text("id,title\na,Apple\nb,Pear\nc,Plum\n")
    users = {"user": range(300), "items": [ids[: 1 + n % 2] for n in range(299)] + [["c"]]}
    log = tmp_path / "lists.parquet"
    pl.DataFrame(users).write_parquet(log)
    config = InputConfig(user="user", item="items")
    found = made(log, config, action="buy", drawn=1, titles=str(tmp_path / "titles.csv"))
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    bought, drawn = (events.filter(pl.col("action") == name) for name in ("buy", "pass"))
    assert len(bought) == sum(map(len, users["items"]))
    own = bought.sort("time").group_by("member").agg("item")
    assert dict(own.iter_rows())["1"] == ["a", "b"]  # in the order of the list
    assert not len(drawn.join(bought, on=("member", "item"), how="semi"))  # never what was bought
    assert "nobody was shown" in found.notes[-1]
    assert "nobody was shown it" in found.tasks[0].read_text()
    # Those who bought a alone can be given b and c only, b far more often, as it was bought far more often.
    assert drawn["item"].value_counts(sort=True)["item"][0] == "b"
    surface = read_surface(read_task(found.tasks[0]))
    assert not surface.clock
    assert len(surface) == len(events)
    again = new_surface(
        [str(log)],
        config,
        NewSurfaceConfig(noun="movie", action="buy", drawn=1, titles=str(tmp_path / "titles.csv")),
        tmp_path / "again",
        seed=1,
    )
    assert again.n_events == found.n_events
    assert pl.read_parquet(tmp_path / "again" / "events.parquet").equals(events)


def test_what_has_no_item_or_rating_is_counted(tmp_path: Path) -> None:
    log = plain(tmp_path, "who,what,when,stars\nu,a,1,5\nu,,2,4\nv,b,3,\nv,c,4,2\n")
    config = InputConfig(user="who", item="what", position="when", value="stars")
    found = made(log, config, titles=str(tmp_path / "titles.csv"))
    assert found.n_events == 2
    assert found.notes[0] == "left out, as they name no item: 1 of 4 events."
    assert found.notes[1] == "left out, as they have no rating: 1 of 3 events."


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"texts": "plots.csv"}, UsageError, "--texts needs --text-column"),
        ({"text_column": "plot"}, UsageError, "--text-column needs --texts"),
        (
            {"texts": "plots.csv", "text_column": "story"},
            InputError,
            r'plots.csv: no column "story" \(--text-column\); the columns are movie_id, plot, actors',
        ),
        (
            {"texts": "plots.csv", "text_column": "plot", "text_id": "imdb"},
            InputError,
            r'no column "imdb" \(--text-id\)',
        ),
        (
            {"texts": "nameless.csv", "text_column": "plot"},
            InputError,
            "which column has the item's id\\? Name it with --text-id; the columns are key, plot",
        ),
        (
            {"texts": "others.csv", "text_column": "plot"},
            InputError,
            "no id of the log is among those of column id: there they look like tt1, tt2, in the log",
        ),
        (
            {"texts": "twice.csv", "text_column": "plot"},
            InputError,
            'the id "10" stands more than once',
        ),
        (
            {"texts": "movies.csv", "text_column": "title"},
            UsageError,
            "title, which is there already",
        ),
        ({"texts": "odd.csv", "text_column": "a{b}"}, UsageError, "cannot stand in a template"),
        ({"titles": "others.csv"}, InputError, "no id of the log is among those of column id"),
        (
            {"at_least": 6},
            UsageError,
            r"none of the ratings \(they go from 2.5 to 5\) are that large",
        ),
        ({"drawn": 1}, UsageError, "this one has ratings"),
        ({"action": "pass"}, UsageError, "which is what no means"),
        (
            {"members": "odd.csv", "member_column": "a"},
            InputError,
            "which column has the member's id",
        ),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    log: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, object], kind: type, message: str
) -> None:
    monkeypatch.chdir(log.parent)
    Path("nameless.csv").write_text("key,plot\n10,x\n")
    Path("others.csv").write_text("id,plot\ntt1,x\ntt2,y\n")
    Path("twice.csv").write_text("id,plot\n10,x\n10,y\n")
    Path("movies.csv").write_text(MOVIES)
    Path("odd.csv").write_text("movieId,a{b}\n10,x\n")
    before = sorted(log.parent.rglob("*"))
    with pytest.raises(kind, match=message):
        made(log, **values)
    assert sorted(log.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "more", "values", "message"),
    [
        (KINDS, {}, {}, "the log has one kind of event only.*--drawn 1"),
        (KINDS, {"event": "did"}, {}, "--action is missing: which kind of event.*add to cart"),
        (
            KINDS,
            {"event": "did"},
            {"action": "buy"},
            '--action is "buy".*The kinds are view, add to',
        ),
        (
            KINDS,
            {"event": "did"},
            {"action": "view", "drawn": 1},
            "--drawn is for a log that tells only",
        ),
        (KINDS, {"item": None}, {}, "the log has no items.*--item"),
        (KINDS, {"item": "which"}, {}, "which"),
        (KINDS, {}, {"drawn": 1, "titles": None}, "nothing is said of any movie.*--titles TABLE"),
    ],
)
def test_a_log_that_does_not_say_enough_is_refused(
    tmp_path: Path, text: str, more: dict[str, str], values: dict[str, object], message: str
) -> None:
    log = plain(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((InputError, UsageError), match=message):
        made(
            log,
            NAMED.model_copy(update=more),
            **{"titles": str(tmp_path / "titles.csv"), **values},
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = log.parent / "out"
    words = ["rank", "new", str(log), "--schema", "movielens", "--noun", "movie", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "1 of 4 items have no genres." in said
    assert "2 members, 4 items, 5 events" in said
    assert f"linkwise rank show {out}/tasks/like.toml --member 2" in said
    assert main(words) == 2  # the folder is there
    assert "it exists already" in capsys.readouterr().err


def test_words_are_inflected_as_regular_english_has_it() -> None:
    said = {"like": "liked", "apply to": "applied to", "play": "played", "tag": "tagged"}
    said |= {
        "view": "viewed",
        "visit": "visited",
        "buy": "bought",
        "mix": "mixed",
        "open": "opened",
    }
    assert {word: past_of(word) for word in said} == said
    assert [plural(n) for n in ("movie", "story", "box", "day")] == [
        "movies",
        "stories",
        "boxes",
        "days",
    ]
