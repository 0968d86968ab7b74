"""The picture of the architecture, from the text below: `docs/generate.py` writes `docs/architecture.svg`."""

from __future__ import annotations

from xml.sax.saxutils import escape

# name: column, row, width in columns, label lines
BOXES = {
    "command": (0, 0, 1, ["command line", "cli"]),
    "service": (1, 0, 1, ["HTTP service, page", "server"]),
    "python": (2, 0, 1, ["Python wheel", "python"]),
    "c": (3, 0, 1, ["C, C++, firmware", "ffi"]),
    "url": (0, 2, 1, ["canonical form", "url.rs"]),
    "tokens": (1, 2, 1, ["bytes + parts", "tokens.rs"]),
    "network": (2, 2, 1, ["layers, kernels", "network.rs, kernel.rs"]),
    "score": (3, 2, 1, ["logit, verdict", "model.rs"]),
    "file": (1, 4, 2, ["one .safetensors file, read in place", "weights, layers, thresholds, calibration"]),
    "train": (0, 4, 1, ["training, evaluation", "weights/phishcnn_train"]),
    "deploy": (3, 4, 1, ["chart, roles, gateway", "charts, infra"]),
}
FRAME = ("core: no std, no allocation, no reachable panic", 2)  # title, row
# from, to; arrows go sideways within a row and downwards or upwards between rows
ARROWS = [("url", "tokens"), ("tokens", "network"), ("network", "score"), ("train", "file")]
COLUMN, ROW, WIDTH, HEIGHT, LEFT, TOP = 215, 62, 185, 54, 30, 24


def place(name: str) -> tuple[float, float, float]:
    """Left, top and width of a box."""
    column, row, columns, _ = BOXES[name]
    return LEFT + column * COLUMN, TOP + row * ROW, WIDTH + (columns - 1) * COLUMN


def svg() -> str:
    wide, high = 2 * LEFT + 3 * COLUMN + WIDTH, 2 * TOP + 4 * ROW + HEIGHT
    title, row = FRAME
    top = TOP + row * ROW - 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img"',
        '     font-family="system-ui, sans-serif" font-size="14" text-anchor="middle">',
        "<title>PhishCNN: surfaces over one core, which reads one model file</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>',
        f'<rect width="{wide}" height="{high}" fill="#fff"/>',
        f'<rect x="{LEFT - 14}" y="{top}" width="{wide - 2 * LEFT + 28}" height="{HEIGHT + 38}" rx="8" fill="#eaf2fb" stroke="#9db8d6"/>',
        f'<text x="{wide / 2:g}" y="{top + 16}" fill="#33506f" font-size="13">{escape(title)}</text>',
    ]
    for name, (_, _, _, (label, where)) in BOXES.items():
        x, y, width = place(name)
        lines += [
            f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="6" fill="#fff" stroke="#57606a"/>',
            f'<text x="{x + width / 2:g}" y="{y + 23}" fill="#1f2328">{escape(label)}</text>',
            f'<text x="{x + width / 2:g}" y="{y + 41}" fill="#57606a" font-size="12">{escape(where)}</text>',
        ]
    for start, end in ARROWS:
        (x1, y1, width), (x2, _, _) = place(start), place(end)
        lines.append(arrow(x1 + width, y1 + HEIGHT / 2, x2, y1 + HEIGHT / 2))
    for name in ("command", "service", "python", "c"):
        x, y, width = place(name)
        lines.append(arrow(x + width / 2, y + HEIGHT, x + width / 2, top))
    x, y, width = place("file")
    lines.append(arrow(x + width / 2, y, x + width / 2, top + HEIGHT + 38))
    return "\n".join([*lines, "</svg>", ""])


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" stroke="#57606a" fill="none" marker-end="url(#tip)"/>'
