"""A client that keeps a number of connections busy, in its own process; prints seconds per request as JSON.

python -m benchmarks.load URL FOLDER --connections 8 --requests 400
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from pathlib import Path

import aiohttp


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--requests", type=int, required=True)
    arguments = parser.parse_args()
    images = [path.read_bytes() for path in sorted(arguments.folder.rglob("*.jp*g"))]
    seconds, statuses, total = asyncio.run(
        ask(f"{arguments.url}/predict", images, arguments.connections, arguments.requests)
    )
    print(json.dumps({"seconds": seconds, "statuses": statuses, "total": total}))


async def ask(
    url: str, images: list[bytes], num_connections: int, num_requests: int
) -> tuple[list[float], list[int], float]:
    """Seconds and status of each request, and the wall time of them all."""
    seconds, statuses, numbers = [], [], itertools.count()
    connector = aiohttp.TCPConnector(limit=num_connections)
    headers = {"Content-Type": "image/jpeg"}

    async def keep_busy(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) < num_requests:
            began = time.perf_counter()
            async with session.post(url, data=images[number % len(images)], headers=headers) as response:
                await response.read()
            seconds.append(time.perf_counter() - began)
            statuses.append(response.status)

    async with aiohttp.ClientSession(connector=connector) as session:
        began = time.perf_counter()
        await asyncio.gather(*(keep_busy(session) for _ in range(num_connections)))
        return seconds, statuses, time.perf_counter() - began


if __name__ == "__main__":
    main()
