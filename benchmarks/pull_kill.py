"""Kills a pull of a 600 MB model again and again: `python benchmarks/pull_kill.py`.

A hub on this machine (the one of the tests) serves a random ViT-B/32. The pull is killed at random
moments, then let to its end; then two processes pull at once. Printed are the bytes that the hub
sent in all, over the size; the same for huggingface_hub's own download under the same kills. Exits
1 where a model is not whole, something half-made is left in use, or the ratio is 1.5 or more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "zoo"))

from hub import HubServer  # noqa: E402

NAME, REPO, LIMIT = "general/large-random", "them/large", 1.5
PULL = f"""
import sys, os
from domainclip.zoo.pull import pull
import huggingface_hub.hf_api
print("ready", flush=True)
pull({NAME!r}, say=lambda text: print(text, flush=True))
"""
STOCK = f"""
import os
from huggingface_hub import snapshot_download
import huggingface_hub.hf_api
print("ready", flush=True)
snapshot_download({REPO!r}, local_dir=os.environ["STOCK_FOLDER"], token=False)
"""


def make_model(folder: Path) -> None:
    """Write a random ViT-B/32 as a hub folder of open_clip."""
    import open_clip
    from safetensors.torch import save_file

    model = open_clip.create_model("ViT-B-32")
    folder.mkdir()
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def start(script: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process and wait until it has imported what it needs."""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() not in ("ready\n", ""):
        pass
    return process


def kill(
    script: str, environment: dict[str, str], waits: list[float], zoo: Path
) -> tuple[int, int]:
    """Kill a process after each wait; return how many were killed, and how often a model showed."""
    killed = shown = 0
    for wait in waits:
        process = start(script, environment)
        time.sleep(wait)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        shown += (zoo / NAME).exists()
    return killed, shown


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=15, help="megabytes a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-stock", action="store_true", help="leave huggingface_hub's own out")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch, HubServer(Path(scratch) / "hub") as hub:
        place = Path(scratch)
        make_model(place / "large")
        files = {file.name: file for file in (place / "large").iterdir()}
        size = sum(file.stat().st_size for file in files.values())
        hub.add(REPO, files)
        home = place / "home"
        card = home / "cards" / f"{NAME}.yaml"
        card.parent.mkdir(parents=True)
        told = {"name": NAME, "title": "Large", "summary": "Random.", "licence": "MIT",
                "source": {"repo": REPO}}  # fmt: skip
        card.write_text(json.dumps(told))
        environment = {
            **os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(place / "hf"), "DOMAINCLIP_HOME": str(home), "OMP_NUM_THREADS": "1",
            "STOCK_FOLDER": str(place / "stock"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        os.environ["DOMAINCLIP_HOME"] = str(home)
        longest = 2 * size / (asked.rate * 1e6) / (asked.kills + 1)
        waits = [draw.uniform(0.1, longest) for _ in range(asked.kills)]
        from domainclip.zoo.store import remove, verify

        print(f"size {size / 1e6:.1f} MB, served at {asked.rate:g} MB/s, {asked.kills} kills after "
              f"{', '.join(f'{wait:.1f}' for wait in waits)} s")  # fmt: skip
        hub.faults.rate = asked.rate * 1e6
        killed, shown = kill(PULL, environment, waits, home / "zoo")
        at_kills = hub.sent
        last = start(PULL, environment)
        said = last.communicate()[0]
        wrong = verify(NAME) if last.returncode == 0 else [said]
        ratio = hub.sent / size
        print(f"domainclip zoo pull: {killed} killed, {at_kills / 1e6:.1f} MB sent by then, "
              f"{hub.sent / 1e6:.1f} MB in all, ratio {ratio:.3f} (limit {LIMIT})")  # fmt: skip
        print(f"  a model was in place while incomplete: {shown} times; whole at the end: "
              f"{wrong or 'yes'}")  # fmt: skip
        failed = bool(wrong) or shown > 0 or ratio >= LIMIT
        remove(NAME)
        before, hub.faults.rate = hub.sent, 200e6
        pair = [start(PULL, environment) for _ in range(2)]
        ends = [(process.communicate()[0], process.returncode) for process in pair]
        wrong = verify(NAME)
        waited = sum("there already" in text for text, _ in ends)
        print(f"two at once: exit codes {[code for _, code in ends]}, {waited} found it there, "
              f"ratio {(hub.sent - before) / size:.3f}, whole: {wrong or 'yes'}")  # fmt: skip
        failed |= bool(wrong) or any(code for _, code in ends)
        if not asked.no_stock:
            before, hub.faults.rate = hub.sent, asked.rate * 1e6
            killed, _ = kill(STOCK, environment, waits, home / "zoo")
            hub.faults.rate = 200e6
            start(STOCK, environment).communicate()
            print(f"huggingface_hub snapshot_download: {killed} killed, "
                  f"ratio {(hub.sent - before) / size:.3f}")  # fmt: skip
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
