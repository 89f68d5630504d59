"""Draw the README's picture: built-in labels of every bundled domain, one picture each.

python benchmarks/contact_sheet.py docs/contact_sheet.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from domainclip import get_domain, plot
from domainclip.data.builtin import sample_builtin, split_sheets

DOMAINS, ROWS, COLUMNS, SIDE = ("biology", "medical", "remote_sensing"), 2, 9, 128


def main() -> None:
    """Write the picture and print its size."""
    path = Path(sys.argv[1])
    strips = []
    for name in DOMAINS:
        domain = get_domain(name)
        tree, n = domain.labels(), len(split_sheets(domain.builtin, "train"))
        step = max(1, n // (ROWS * COLUMNS))
        picks = [(i * step) % n for i in range(min(n, ROWS * COLUMNS))]
        samples = [sample_builtin(domain, "train", i, size=SIDE, seed=4) for i in picks]
        says = [tree.name(tree.node(sample.label), "common") or "" for sample in samples]
        title = f"{domain.title}: schematic built-in data"
        figure = plot.contact_sheet(
            [sample.image for sample in samples], says, columns=COLUMNS, title=title
        )
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=80)
        strips.append(Image.open(buffer).convert("RGB"))
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, ((width - strip.width) // 2, top))
        top += strip.height
    sheet.quantize(200).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
