"""The one path that every command, the service and the tests take: config in, a whole run folder out."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from linkwise import __version__
from linkwise.config import RunConfig, sorted_options
from linkwise.context import Context, Progress, Silent
from linkwise.data.engine import EngineConfig, disk_or_input, n_threads
from linkwise.errors import InputError, Interrupted, LinkwiseError, ResourceError, UsageError
from linkwise.folders import prepare_partial, whole_or_not

if TYPE_CHECKING:
    import polars as pl

    from linkwise.lm.server import Server
    from linkwise.matching.answer import Answer
    from linkwise.recommend.serving import FirstItems
    from linkwise.report.outcome import Outcome

log = logging.getLogger("linkwise")

FORMAT_VERSION = 1
PACKAGES = (
    "duckdb",
    "gensim",
    "implicit",
    "lightgbm",
    "narwhals",
    "numpy",
    "optuna",
    "polars",
    "pyarrow",
    "pyspark",
    "scikit-learn",
    "skops",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and the numbers in it."""

    folder: Path
    keep: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a run folder; raises `UsageError` where it is none."""
        path = Path(folder)
        if not path.exists():
            raise UsageError(f"{path}: there is no such folder.")
        if not (path / "run.json").is_file():
            raise UsageError(f"{path}: this is no run folder (it has no run.json).")
        try:
            found = int(json.loads((path / "run.json").read_text())["format_version"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UsageError(f"{path}: run.json is damaged; run the study again.") from error
        if found > FORMAT_VERSION:
            raise UsageError(
                f"{path}: the run was written by a newer Linkwise (format {found}; this one reads "
                f"up to {FORMAT_VERSION}). Upgrade Linkwise to read it."
            )
        return cls(path)

    @property
    def config(self) -> RunConfig:
        """The configuration that made the run."""
        return RunConfig.from_toml(self.folder / "config.toml")

    @property
    def info(self) -> dict[str, Any]:
        """`run.json`: versions, seed, fingerprints, timings in seconds, peak memory in MiB."""
        info: dict[str, Any] = _read_json(self.folder / "run.json")
        return info

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.json`."""
        rows: list[dict[str, Any]] = _read_json(self.folder / "metrics.json")
        return rows

    @property
    def ranking(self) -> pl.DataFrame:
        """The rows of `ranking.parquet`."""
        import polars as pl

        return pl.read_parquet(self.folder / "ranking.parquet")

    @property
    def recommendations(self) -> pl.DataFrame:
        """Of a recommend run: the list of every user, `user, item, title, score, rank, reason`."""
        import polars as pl

        return pl.read_parquet(self.folder / "recommendations.parquet")

    def recommend(self, history: Sequence[Any], **options: Any) -> pl.DataFrame:
        """Of a recommend run: a list for a new history, by raw item ids, the oldest first.

        `options`: `k`, `model`, `dislikes` (item ids) and `at` (a datetime, of a run with daytime). Raises
        `InputError` where the catalogue has none of the history's items.
        """
        from linkwise.recommend.serving import list_for

        return list_for(self, history=history, **options)

    @property
    def nodes(self) -> pl.DataFrame:
        """Of a match-link run: the graph's nodes, `kind, id, title, text, year`."""
        import polars as pl

        return pl.read_parquet(self.folder / "nodes.parquet")

    @property
    def links(self) -> pl.DataFrame:
        """Of a match-link run: the graph's links, with score, origin, and what gave each and why."""
        import polars as pl

        return pl.read_parquet(self.folder / "links.parquet")

    @property
    def report(self) -> Path:
        """The report page."""
        return self.folder / "report.html"


def churn(
    log: Any,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Predict who will be gone: clean, label, describe, model, explain, rank. See `docs/churn.md`.

    `log` is a path, several paths, or a pandas, Polars or Arrow frame with one row per event. `options` are
    the fields of `InputConfig` (``user="customer", time="date"``, or ``schema="music-box"``),
    `EngineConfig` and `ChurnConfig` (``feature_days=30``). Without `out` the run lives in a temporary folder
    as long as the returned `Run`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("churn", log, out, seed, options, flags)


def recommend(
    log: Any,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Compare recommenders on one log, under one protocol, and list items for every user.

    `log` and `out` are as in `churn`; `options` are the fields of `InputConfig`, `EngineConfig`,
    `RecommendConfig` (``models="item-item,sasrec"``, ``sasrec={"epochs": 20}``) and `InteractionsConfig`
    (``min_rating=4``). See `docs/recommend.md`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("recommend", log, out, seed, options, flags)


def rank(
    tasks: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Train one text model on many surfaces, and judge it on all. See `docs/rank.md`.

    `tasks` are task files, or folders with such. `options` are the fields of `RankStudyConfig`
    (``base="tiny", held_out=("follow",)``) and `EngineConfig`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("rank", tasks, out, seed, options, flags)


def forecast(
    patents: Any,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Forecast which technology codes will be combined, judged on the past. See `docs/forecast.md`.

    `patents` is a path, several, or a frame with one row per patent. `options` are the fields of
    `DocumentsConfig` (``codes="cpc_code", level="subclass"``), `ForecastConfig` (``lm="minilm",
    embed="2006-2010"``) and `EngineConfig`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("forecast", patents, out, seed, options, flags)


def match_goals(
    texts: Any,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Find the goals that texts are about, judged where people have judged. See `docs/match.md`.

    `texts` is a table's path or a frame with one row per text. `options` are the fields of `MatchConfig`
    (``goals="targets.json", goal="sdg"``) and `EngineConfig`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("match", texts, out, seed, options, flags)


def match(
    patents: Any,
    sections: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Match patents, or other documents, with the sections of reference works. See `docs/match.md`.

    `patents` is a table's path or a frame with one row per document; `sections` are paths of what
    `linkwise.data.sections.read_sections` reads. `options` are the fields of `PairsConfig`
    (``labels="pairs.csv", judge="cross-encoder"``), `DocumentsConfig` and `EngineConfig`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    works = [sections] if isinstance(sections, str | Path) else list(sections)
    return _carry_out("match-pairs", patents, out, seed, options, flags, works)


def match_links(
    patents: Any,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Link patents, techniques, pollutants and goals in one graph. See `docs/match.md`.

    `patents` is a path, several, or a frame with one row per patent. `options` are the fields of `LinkConfig`
    (``sections=("bref.parquet",), pollutants="pollutants.json"``), `DocumentsConfig` and `EngineConfig`.
    `Run.nodes` and `Run.links` are the graph.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("match-link", patents, out, seed, options, flags)


def detect(
    graphs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Find the graphs that do not belong to a family, learned from normal ones alone. See `docs/detect.md`.

    `graphs` are paths of what `linkwise.data.graph_files.read_graphs` reads. `options` are the fields of
    `DetectConfig` (``normal_class="1", detector="wl"``) and `EngineConfig`.

    Raises `UsageError`, `InputError` or `ResourceError`, each saying what, where, got and mend.
    """
    flags = {"overwrite": overwrite, "resume": resume, "progress": progress}
    return _carry_out("detect", graphs, out, seed, options, flags)


def detect_score(
    run: Run | str | Path,
    graphs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    false_alarms: float | None = None,
) -> pl.DataFrame:
    """Rank new graphs by how strange they are to the family that a finished detect run has learned.

    `false_alarms` is the share of false ones among the flagged, by default the run's own. Returns the list,
    the strangest first, and writes it to `out` (.parquet or .csv) where given.

    Raises `UsageError` where `run` is no detect run or `out` exists, `InputError` where graphs cannot be
    read.
    """
    from linkwise.anomaly.score import score_graphs
    from linkwise.data.spreadsheet import write_csv

    found = run if isinstance(run, Run) else Run.open(run)
    config = found.config
    if config.verb != "detect":
        raise UsageError(f"{found.folder}: this is a {config.verb} run; expected a detect run.")
    if false_alarms is not None and not 0 < false_alarms < 1:
        raise UsageError(f"--false-alarms is {false_alarms}; expected a share between 0 and 1.")
    path = None if out is None else Path(out)
    if path is not None and path.exists() and not overwrite:
        raise UsageError(f"{path}: the file exists. Choose another --out, or use --overwrite.")
    if path is not None and path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{path}: the list is written as .parquet or .csv; choose one of them.")
    paths = [str(graphs)] if isinstance(graphs, str | Path) else [str(one) for one in graphs]
    with _system_errors():
        ranked = score_graphs(
            found.folder / "model", paths, false_alarms or config.detect.false_alarms
        )
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.partial")
            try:
                if path.suffix == ".csv":
                    write_csv(ranked, partial)
                else:
                    ranked.write_parquet(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    return ranked


def _carry_out(
    verb: str,
    log: Any,
    out: str | Path | None,
    seed: int,
    options: dict[str, Any],
    flags: dict[str, Any],
    more: Sequence[str | Path] = (),
) -> Run:
    """A verb from Python: without `out`, in a temporary folder that lives as long as the `Run`."""
    keep = None
    if out is None:
        keep = tempfile.TemporaryDirectory(prefix="linkwise-run-")
        out = Path(keep.name) / verb
    with _as_paths(log) as paths:
        paths = [*paths, *(str(Path(path).absolute()) for path in more)]
        values = {"verb": verb, "paths": paths, "seed": seed} | sorted_options(verb, options)
        run = execute(RunConfig.from_values(values, verb), Path(out), **flags)
    return Run(run.folder, keep)


def score(
    run: Run | str | Path,
    log: Any,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    engine: EngineConfig | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Rank the users of a newer log with a fitted churn run; the log is read as the run's was.

    Returns the list, riskiest first, and writes it to `out` (.parquet or .csv) where given.

    Raises `UsageError` where `run` is no run or `out` exists, `InputError` where the log does not fit.
    """
    from linkwise.churn.study import score_log
    from linkwise.data.spreadsheet import write_csv

    found = run if isinstance(run, Run) else Run.open(run)
    config = found.config
    path = Path(out) if out is not None else None
    if path is not None and path.exists() and not overwrite:
        raise UsageError(f"{path}: the file exists. Choose another --out, or use --overwrite.")
    if path is not None and path.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{path}: the list is written as .parquet or .csv; choose one of them.")
    engine = engine or config.engine
    with _as_paths(log) as paths, tempfile.TemporaryDirectory(prefix="linkwise-") as folder:
        context = Context(
            folder=Path(folder),
            seed=config.seed,
            threads=n_threads(engine),
            progress=progress or Silent(),
        )
        with _system_errors():
            ranked = score_log(
                found.folder / "model",
                paths,
                config.input.model_copy(update={"sample": 1.0}),  # every user of the new log
                engine,
                config.churn,
                context,
                _items_of(config),
            )
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{path.name}.partial")
                try:
                    if path.suffix == ".csv":
                        write_csv(ranked, partial)
                    else:
                        ranked.write_parquet(partial)
                    partial.replace(path)
                finally:
                    partial.unlink(missing_ok=True)
    return ranked


def ask(
    run: Run | str | Path,
    question: str,
    *,
    server: Server | None = None,
    history: str | Path | None = None,
    show: Callable[[str], None] | None = None,
) -> Answer:
    """Answer a question about a finished run, of any study, from its records alone. See `docs/ask.md`.

    Without a `server` no model is needed: tables answer what they can, else passages are quoted. With one,
    its model words the answer, and sentences that the records do not bear out are dropped. `history` is a
    file of JSON lines that keeps questions and answers, for "and its pollutants?"; `show` gets each line of
    the answer as soon as it is known to hold.

    Raises `UsageError` where `run` is no run or the question is empty, `InputError` where a file is damaged,
    and what `Server.complete` raises.
    """
    from linkwise.matching.answer import Session

    found = run if isinstance(run, Run) else Run.open(run)
    return Session(found.folder, server=server, history=history).ask(question, show)


def execute(
    config: RunConfig,
    out: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Run:
    """Carry out a run and leave a whole folder at `out`, or nothing.

    The folder is made beside `out` as ``.NAME.partial-<config hash>`` and renamed when whole. Interrupted
    runs keep it for `resume`; failed ones remove it.

    Raises `UsageError` where `out` exists and `overwrite` is False, or where there is nothing to resume.
    """
    from threadpoolctl import threadpool_limits

    out = out.absolute()
    _check_out(
        out,
        overwrite,
        (*config.paths, *config.detect.against, *config.detect.known_anomalies, *_runs_of(config)),
    )
    partial = out.parent / f".{out.name}.partial-{config.digest}"
    prepare_partial(partial, out, resume)
    context = Context(
        folder=partial,
        seed=config.seed,
        threads=n_threads(config.engine),
        progress=progress or Silent(),
        cancelled=cancelled,
    )
    began = time.monotonic()
    with _system_errors():
        try:
            prints = _check_inputs(config, partial)
        except BaseException:
            if not resume:
                shutil.rmtree(partial, ignore_errors=True)
            raise
    # One thread of BLAS: the matrices here are small, and two threads on a busy machine collapse.
    with (
        whole_or_not(partial, out),
        _system_errors(),
        threadpool_limits(limits=1, user_api="blas"),
    ):
        outcome = _study(config, context)
        _write_outcome(outcome, config, context, prints, time.monotonic() - began)
    return Run(out)


def _study(config: RunConfig, context: Context) -> Outcome:
    """Carry out the verb's study."""
    given = config.paths, config.input, config.engine
    if config.verb == "rank":
        from linkwise.rank.study import study as rank_study

        return rank_study(config.paths, config.rank, context)
    if config.verb == "forecast":
        from linkwise.technology.study import study as forecast_study

        return forecast_study(config.paths, config.documents, config.forecast, context)
    if config.verb == "match":
        from linkwise.matching.study import study as match_study

        return match_study(config.paths, config.match, context)
    if config.verb == "match-pairs":
        from linkwise.matching.pairs import study as pairs_study

        return pairs_study(config.paths, config.documents, config.pairs, context)
    if config.verb == "match-link":
        from linkwise.matching.link_study import study as link_study

        return link_study(config.paths, config.documents, config.link, context)
    if config.verb == "detect":
        from linkwise.anomaly.study import study as detect_study

        return detect_study(config.paths, config.detect, context)
    if config.verb == "recommend":
        from linkwise.recommend.study import study as recommend_study

        return recommend_study(*given, config.recommend, context)
    from linkwise.churn.study import study as churn_study

    return churn_study(*given, config.churn, context, _items_of(config))


def _items_of(config: RunConfig) -> FirstItems | None:
    """What to send to users who should be reached, where the churn study names a recommend run."""
    if config.churn.recommend is None:
        return None
    from linkwise.recommend.serving import FirstItems

    return FirstItems(Run.open(config.churn.recommend).folder)


def _runs_of(config: RunConfig) -> list[str]:
    """The runs that a rank run reads: the one that is studied, its teacher, a base that is one."""
    rank = config.rank
    named = [run for run in (rank.run, rank.teacher) if run is not None]
    return [*named, *([rank.base] if (Path(rank.base) / "run.json").is_file() else [])]


def _check_out(out: Path, overwrite: bool, paths: Sequence[str]) -> None:
    """Refuse to write where something else than a run stands, or where the input lies."""
    if not out.exists():
        return
    if not overwrite:
        raise UsageError(
            f"{out}: the folder exists. Choose another --out, or replace it with --overwrite."
        )
    is_run = (out / "run.json").is_file()
    if not is_run and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(
            f"{out}: this is no run folder (it has no run.json), so --overwrite leaves it alone. "
            "Choose another --out, or remove it yourself."
        )
    for path in paths:
        if Path(path).resolve().is_relative_to(out.resolve()):
            raise UsageError(f"{path}: the input lies inside --out {out}; choose another --out.")


def _check_inputs(config: RunConfig, partial: Path) -> list[dict[str, str | int]]:
    """Fingerprint the input; a resumed run must find the files that it began with."""
    from linkwise.data.files import find_files, fingerprint

    if config.verb == "rank":
        from linkwise.rank.study import teacher_folder
        from linkwise.rank.surface import tables

        read = tables(config.paths)
        if config.rank.teacher is not None:
            read += sorted(p for p in teacher_folder(config.rank.teacher).rglob("*") if p.is_file())
        return _same_inputs([fingerprint(path) for path in read], partial)
    if config.verb == "detect":
        return _same_inputs([fingerprint(path) for path in _graph_files(config)], partial)
    if (matched := _matched_files(config)) is not None:
        for path in matched:
            if not path.is_file():
                what = (
                    "this is a folder; name the file" if path.is_dir() else "there is no such file"
                )
                raise InputError(f"{path}: {what}.")
        return _same_inputs([fingerprint(path) for path in matched], partial)
    files = find_files(config.paths)
    if config.input.log_schema == "music-box":  # the truth lies beside a simulated log, unread
        files = [file for file in files if file.format == "csv"]
    return _same_inputs([fingerprint(file.path) for file in files], partial)


def _graph_files(config: RunConfig) -> list[Path]:
    """The files of a detect run's graphs; raises `InputError` where one is missing."""
    found = []
    for path in map(Path, (*config.paths, *config.detect.against, *config.detect.known_anomalies)):
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder.")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found += [file for file in inside if file.is_file()]
    return found


def _matched_files(config: RunConfig) -> list[Path] | None:
    """The files that a match reads; None of another study."""
    from linkwise.data.document_tables import find_tables

    if config.verb == "match":
        return [Path(path) for path in (*config.paths, config.match.goals) if path is not None]
    if config.verb == "match-pairs":
        more = [*config.paths[1:], *([config.pairs.labels] if config.pairs.labels else [])]
        return [*find_tables(config.paths[0]), *map(Path, more)]
    if config.verb == "match-link":
        from linkwise.matching.link_read import files_of

        return [*find_tables(config.paths), *files_of(config.link)]
    return None


def _same_inputs(prints: list[dict[str, str | int]], partial: Path) -> list[dict[str, str | int]]:
    """The fingerprints, noted in a new run, and compared in a resumed one."""
    path = partial / ".inputs.json"
    if path.exists() and json.loads(path.read_text()) != prints:
        raise UsageError(
            "the input files changed since the run was interrupted; start it afresh without --resume."
        )
    path.write_text(json.dumps(prints))
    return prints


@contextmanager
def _system_errors() -> Iterator[None]:
    """Give errors of the machine, and Ctrl-C, our words and exit codes."""
    try:
        yield
    except LinkwiseError:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(
            "the run was interrupted; what was finished is kept. Go on with the same command "
            "and --resume."
        ) from error
    except MemoryError as error:
        raise ResourceError(
            "memory ran out. Use a smaller --sample, or a machine with more memory."
        ) from error
    except OSError as error:
        raise disk_or_input(error) from error


def _write_outcome(
    outcome: Outcome,
    config: RunConfig,
    context: Context,
    prints: list[dict[str, str | int]],
    seconds: float,
) -> None:
    import polars as pl

    from linkwise.report import save, write_report

    folder = context.folder
    (folder / "config.toml").write_text(config.to_toml())
    (folder / "metrics.json").write_text(json.dumps(outcome.metrics, indent=1))
    if isinstance(outcome.ranking, pl.LazyFrame):
        outcome.ranking.sink_parquet(folder / "ranking.parquet")
    else:
        outcome.ranking.write_parquet(folder / "ranking.parquet")
    outcome.evaluation.write_parquet(folder / "evaluation.parquet")
    save(outcome.report.model_copy(update={"details": _details(config, prints)}), folder)
    write_report(folder)
    (folder / "run.json").write_text(
        json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "linkwise": __version__,
                "python": platform.python_version(),
                "packages": package_versions(),
                "seed": config.seed,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "inputs": prints,
                "seconds": round(seconds, 2),
                "timings": {name: round(value, 3) for name, value in context.timings.items()},
                "peak_memory_mib": peak_memory_mib(),
            },
            indent=1,
        )
    )
    (folder / ".inputs.json").unlink(missing_ok=True)


def _details(config: RunConfig, prints: list[dict[str, str | int]]) -> tuple[Any, ...]:
    """How the report was made, for its foot; nothing that differs between two equal runs."""
    from linkwise.report import Fact

    versions = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    size = sum(int(entry["bytes"]) for entry in prints)
    repeat = Fact(label="Repeat it", value="linkwise run config.toml --out FOLDER", code=True)
    if any("linkwise-frame-" in path for path in config.paths):
        names = {"match": "match_goals", "match-link": "match_links"}
        name = names.get(config.verb, config.verb)
        call = f"call linkwise.{name} again with the same frame"
        repeat = Fact(label="Repeat it", value=call)
    return (
        repeat,
        Fact(
            label="Input",
            value=f"{len(prints)} file{'s' * (len(prints) > 1)}, {size / 2**20:,.1f} MiB",
        ),
        Fact(label="Seed", value=str(config.seed)),
        Fact(label="Versions", value=f"linkwise {__version__}, {versions}"),
    )


def package_versions() -> dict[str, str]:
    """The installed versions of the packages that a result may depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def peak_memory_mib() -> float:
    """The most memory this process has held so far, MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


@contextmanager
def _as_paths(log: Any) -> Iterator[list[str]]:
    """Paths as they are; a frame written to a Parquet file for as long as the run takes."""
    if isinstance(log, str | Path):
        yield [str(log)]
        return
    if isinstance(log, list | tuple) and all(isinstance(item, str | Path) for item in log):
        yield [str(item) for item in log]
        return
    import narwhals as nw

    from linkwise.data.files import fingerprint

    try:
        frame = nw.from_native(log)
    except TypeError as error:
        raise InputError(
            f"the log is a {type(log).__name__}; expected paths or a pandas, Polars or Arrow frame."
        ) from error
    with tempfile.TemporaryDirectory(prefix="linkwise-") as scratch:
        written = Path(scratch) / "frame.parquet"
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        frame.write_parquet(written)
        # Named by its content: the same frame gives the same config, so that its run can be resumed.
        digest = fingerprint(written)["sha256"]
        folder = Path(tempfile.gettempdir()) / f"linkwise-frame-{str(digest)[:16]}"
        folder.mkdir(exist_ok=True)
        path = folder / "frame.parquet"
        shutil.move(written, path)
        try:
            yield [str(path)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())
