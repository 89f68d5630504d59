"""Draws built-in pictures of each domain in parallel and prints pictures per second.

    python benchmarks/builtin_speed.py [--size 128] [--count 600] [DOMAIN ...]

The target is 300 a second on two cores at 128 pixels.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domains", nargs="*")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--count", type=int, default=600)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["DOMAINCLIP_HOME"] = home
        from domainclip.data.builtin import load_builtin
        from domainclip.data.parallel import cpu_count
        from domainclip.domains.registry import find_domains, get_domain

        print(f"{asked.size} px, {asked.count} pictures, {cpu_count()} cores")
        for name in asked.domains or find_domains():
            domain = get_domain(name)
            load_builtin(domain, "val", size=asked.size, seed=1, count=8, quiet=True)  # imports
            start = time.perf_counter()
            load_builtin(domain, "train", size=asked.size, seed=0, count=asked.count, quiet=True)
            took = time.perf_counter() - start
            start = time.perf_counter()
            load_builtin(domain, "train", size=asked.size, seed=0, count=asked.count, quiet=True)
            again = time.perf_counter() - start
            print(f"{name}: {asked.count / took:.0f} pictures/s; opened again in {again:.3f} s")


if __name__ == "__main__":
    main()
