"""Claims on the service: seconds of an answer at a rate of requests, what a full queue does, a cold start.

    python benchmarks/serve.py runs/demo
    python benchmarks/serve.py RUNS --only recommend --rate 100 --seconds 20

The folder holds runs of recommend, churn, rank and a run to ask (those of `make demo` do). The service is a
process of its own; requests are sent on time, whether or not the ones before were answered, and an answer's
seconds count from when its request was due. On two cores the sender takes part of one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

RATES = {"recommend": 100.0, "churn": 50.0, "rank": 4.0, "ask": 20.0}


def start(runs: Path, *words: str) -> tuple[subprocess.Popen[str], str, float]:
    """The process, its address, and the seconds until it was ready."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "linkwise", "serve", str(runs), "--port", "0", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    found = re.search(r"http://\S+?:\d+", process.stderr.readline())
    assert found
    while True:
        try:
            if httpx.get(f"{found[0]}/readyz").status_code == 200:
                return process, found[0], time.monotonic() - began
        except httpx.HTTPError:
            time.sleep(0.02)


def requests_of(
    address: str, kind: str, candidates: int, model: str | None
) -> list[tuple[str, dict[str, Any]]]:
    """Different requests of one kind, with what the runs have."""
    rng = random.Random(0)
    if kind == "recommend":
        params = {"limit": 200}
        rows = httpx.get(f"{address}/v1/recommend/items", params=params, timeout=60).json()["rows"]
        ids = [row["item"] for row in rows]
        of_model = {} if model is None else {"model": model}
        return [
            ("recommend", {"history": rng.sample(ids, rng.randint(6, 20)), "k": 10} | of_model)
            for _ in range(300)
        ]
    if kind == "churn":
        days = [f"2017-06-{day:02}" for day in range(1, 24)]
        return [
            (
                "churn/score",
                {
                    "at": "2017-06-24",
                    "events": [
                        {"time": rng.choice(days), "event": "play", "item": str(rng.randint(1, 500)),
                         "duration": rng.randint(5, 200), "length": 200}
                        for _ in range(rng.randint(5, 150))
                    ],
                },
            )
            for _ in range(300)
        ]  # fmt: skip
    if kind == "rank":
        task = httpx.get(f"{address}/v1/rank/tasks", timeout=60).json()["rows"][0]["name"]
        records = {
            table: [
                row["id"]
                for row in httpx.get(
                    f"{address}/v1/rank/{table}", params={"task": task, "limit": 200}, timeout=60
                ).json()["rows"]
            ]
            for table in ("members", "items")
        }
        return [
            (
                "rank",
                {"task": task, "member": member, "candidates": records["items"][:candidates]},
            )
            for member in rng.sample(records["members"], min(200, len(records["members"])))
        ]
    cards = httpx.get(f"{address}/v1/runs").json()["runs"]
    run = next(card["id"] for card in cards if card.get("verb") == "churn")
    return [("ask", {"run": run, "question": "Which model is best by AUC?"})] * 50


async def send(
    address: str, requests: list[tuple[str, dict[str, Any]]], rate: float, seconds: float
) -> tuple[list[float], dict[int, int]]:
    """Seconds of each answer, and how often each status came."""
    taken: list[float] = []
    statuses: dict[int, int] = {}
    limits = httpx.Limits(max_connections=2000, max_keepalive_connections=2000)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:

        async def one(number: int, due: float) -> None:
            path, body = requests[number % len(requests)]
            answer = await client.post(f"/v1/{path}", json=body)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code == 200:
                taken.append(time.perf_counter() - due)

        began = time.perf_counter()
        tasks = []
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(number, due)))
        await asyncio.gather(*tasks)
    return taken, statuses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", choices=RATES)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--model", help="of recommend; by default the one that the run chose")
    given = parser.parse_args()
    process, address, cold = start(given.runs)
    print(f"ready after {cold:.2f} s")
    try:
        for kind, rate in RATES.items():
            if given.only not in (None, kind):
                continue
            rate = given.rate or rate
            requests = requests_of(address, kind, given.candidates, given.model)
            asyncio.run(send(address, requests, min(rate, 20), 2))  # loads and warms
            taken, statuses = asyncio.run(send(address, requests, rate, given.seconds))
            taken.sort()
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            print(
                f"{kind:10} {rate:5.0f} a second: p50 {1000 * median(taken):6.1f} ms, "
                f"p99 {1000 * taken[int(0.99 * len(taken))]:6.1f} ms, statuses {statuses}, {memory:,.0f} MiB"
            )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    if given.only:
        return
    # Ten times what the queue admits, at once: all are answered, some with 503, and none is left hanging.
    process, address, _ = start(given.runs, "--queue", "20")
    try:
        requests = requests_of(address, "recommend", 0, given.model)
        asyncio.run(send(address, requests, 10, 1))
        began = time.perf_counter()
        _, statuses = asyncio.run(send(address, requests, 100_000, 200 / 100_000))
        print(f"200 at once, queue of 20: {statuses} in {time.perf_counter() - began:.2f} s")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


if __name__ == "__main__":
    main()
