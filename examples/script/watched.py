"""Counts words with a bar, a log and a pool of threads."""

import logging
import sys
import time

from tqdm import tqdm

import runcast
from runcast import ThreadPoolExecutor

logger = logging.getLogger("count")


def count(page: int) -> int:
    time.sleep(0.01)  # it has to be fetched
    if page % 5 == 0:
        logger.warning("page %d is empty", page)
        return 0
    return page * 10


def main(pages: int) -> None:
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(levelname)s %(message)s")
    logger.info("counting %d pages", pages)
    with ThreadPoolExecutor(1) as pool:
        words = sum(tqdm(pool.map(count, range(1, pages + 1)), total=pages, desc="pages"))
    print("words:", words)


if __name__ == "__main__":
    with runcast.run("count"), runcast.sources.stream():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
