#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rows, table, data and chart of the benchmark; called by bench.sh.

  bench_report.py --rows FILE list
  bench_report.py --rows FILE select "NAME..."
  bench_report.py --rows FILE table --out DIR --expect FILE [--verify]

list prints what can be measured.  select prints "NAME CPUS" for each row that
the names of rows and groups mean, all for none; the yardsticks come along, as
the table subtracts them.  table reads DIR/{pristine,patched}-*/result, prints
the table and writes DIR/table.txt, DIR/bench.json and DIR/bench.svg; with
--verify figures that do not agree within 1 % fail.  Some figures have a target;
whether ours meets it is reported, and fails nothing.

Exit status: 0, 1 a result is missing or does not repeat, 2 wrong arguments.
"""

import argparse
import glob
import json
import os
import re
import sys
from html import escape

LIMIT = 1.0             # per cent that repeats may differ by
NOTHING = 0.01          # of a unit: no difference
TREES = {"mainline": "pristine", "ours": "patched"}
# What a page in "zeroed", "copied"... costs is what this row measured.
YARDSTICKS = {"zeroed": "zero", "copied": "copy", "memcpied": "memcpy",
              "to_user": "to-user"}
COPIES = ("copied", "memcpied", "to_user")


def read_rows(path):
    """[(name, group, cpus, title)] in the order of the table."""
    pattern = re.compile(r'^\t\{ "([^"]+)", "([^"]+)", (\d+), "([^"]+)",$')
    with open(path, encoding="utf-8") as file:
        found = [pattern.match(line) for line in file]
    return [(m[1], m[2], int(m[3]), m[4]) for m in found if m]


def show_rows(rows, file=sys.stdout):
    groups = dict.fromkeys(row[1] for row in rows)
    for group in groups:
        print(f"{group}:", file=file)
        for name, its_group, _, title in rows:
            if its_group == group:
                print(f"  {name:24}{title}", file=file)


def select(rows, wanted):
    names = set(wanted.replace(",", " ").split())
    known = {row[0] for row in rows} | {row[1] for row in rows}
    unknown = sorted(names - known)
    if unknown:
        print(f"error: BENCH names no row or group: {' '.join(unknown)}",
              file=sys.stderr)
        print("       groups with their rows:", file=sys.stderr)
        show_rows(rows, sys.stderr)
        return 2
    for name, group, cpus, _ in rows:
        if not names or name in names or group in names or group == "yardstick":
            print(name, cpus)
    return 0


def read_results(out, tree):
    """{(row, part): [one object a pass and boot]}, kernel release"""
    results, release = {}, None
    for path in sorted(glob.glob(os.path.join(out, tree + "-*", "result"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.startswith("{"):
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue    # the guest died while it wrote
                release = entry.get("release", release)
                if "row" in entry:
                    key = (entry["row"], entry["part"])
                    results.setdefault(key, []).append(entry)
    return results, release


def summary(passes, cost):
    """One figure of one kernel: what is left without zeroing and copying."""
    medians = [entry["median"] for entry in passes]
    raw = min(medians)
    spread = max(medians) - raw
    apart = min(entry["apart"] for entry in passes)
    base = raw + apart
    figure = {
        "raw": raw,
        "repeats": medians,
        "spread_percent": (100 * (spread / base if base else 1)
                           if spread > NOTHING else 0.0),
        "sample_min": min(entry["min"] for entry in passes),
        "sample_max": max(entry["max"] for entry in passes),
        "samples": sum(entry["samples"] for entry in passes),
        "tlb_flushes": passes[0]["flushes"],
        "zeroing": passes[0]["zeroed"] * cost["zeroed"],
    }
    copying = sum(passes[0][kind] * cost[kind] for kind in COPIES)
    figure["net"] = raw - figure["zeroing"] - copying
    figure["copying"] = copying + apart
    return figure


def combine(rows, results):
    """The table's lines, in the order of rows.c."""
    lines = []
    costs = {}
    for side, found in results.items():
        costs[side] = {}
        for kind, row in YARDSTICKS.items():
            passes = found.get((row, ""), [])
            costs[side][kind] = min((e["median"] for e in passes), default=0.0)
    for name, _, _, _ in rows:
        parts = dict.fromkeys(key[1] for found in results.values()
                              for key in found if key[0] == name)
        for part in parts:
            line = {"row": name, "part": part, "without": []}
            for side, found in results.items():
                passes = found.get((name, part))
                if passes:
                    line.update({key: passes[0][key]
                                 for key in ("group", "title", "unit", "target")
                                 if key in passes[0]})
                elif any(key[0] == name for key in found):
                    line["without"].append(side)    # not failed: has other parts
                line[side] = summary(passes, costs[side]) if passes else None
            if "target" in line and line["ours"]:
                line["met"] = line["ours"]["net"] <= line["target"]
            sides = [line[side] for side in TREES]
            line["ratio"] = None
            if all(sides) and sides[1]["net"] > 0:
                line["ratio"] = sides[0]["net"] / sides[1]["net"]
            lines.append(line)
    return lines


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def pair(line, key):
    """One number if both kernels agree on it, or one of them has no such part."""
    values = [line[side][key] if line[side] else None for side in TREES
              if side not in line["without"]]
    texts = [number(value) if value else "-" for value in values]
    if len(values) == 1 or (None not in values and
                            abs(values[0] - values[1]) <= 0.01 * max(values)):
        return texts[0]
    return " / ".join(texts)


def result(line, side):
    if line[side]:
        return number(line[side]["net"])
    return "-" if side in line["without"] else "failed"


def target(line):
    if "met" not in line:
        return ""
    return f"{line['target']:g} {'met' if line['met'] else 'MISSED'}"


def table(lines, releases):
    header = ("operation", "unit", "mainline", "ours", "ratio", "zeroing",
              "copying", "TLB flushes", "repeats", "target")
    body = []
    row = None
    for line in lines:
        title = "    " + line["part"] if line["row"] == row else line["title"]
        row = line["row"]
        spread = max(line[side]["spread_percent"] for side in TREES if line[side])
        body.append((title, line["unit"].replace("instructions", "insns"),
                     *(result(line, side) for side in TREES),
                     f"{line['ratio']:.2f}" if line["ratio"] else "-",
                     pair(line, "zeroing"), pair(line, "copying"),
                     pair(line, "tlb_flushes"), f"{spread:.2f} %",
                     target(line)))
    widths = [max(len(row[i]) for row in [header, *body])
              for i in range(len(header))]
    text = [f"mainline: {releases['mainline'] or '?'}   "
            f"ours: {releases['ours'] or '?'} with the HMM toolbox", "",
            "Virtual time: instructions.  Without zeroing and copying, which "
            "stand apart.",
            "ratio: mainline / ours, above 1 ours is faster.  TLB flushes: per "
            "the same unit.",
            "a / b: mainline / ours where they differ.  repeats: difference "
            "between passes.",
            "bare: mainline has no such operation, but the core calls that no "
            "driver can do without.",
            "target: for ours, at most.", ""]
    for row in [header, *body]:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        text.append("  ".join(left + right).rstrip())
        if row is header:
            text.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(text) + "\n"


def chart(lines):
    """Bars of each row relative to mainline, which is one unit long."""
    unit, most, left, top, step = 280, 1.6, 440, 70, 34
    shown = [line for line in lines if line["group"] != "yardstick"]
    height = top + step * len(shown) + 20
    width = left + int(unit * most) + 200
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
           f'height="{height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="#ffffff"/>',
           f'<text x="20" y="26" font-size="16">Instructions, without zeroing '
           'and copying; mainline = 100 %</text>']
    colours = {"mainline": "#8a8f98", "ours": "#1f6fb2"}
    for i, (side, colour) in enumerate(colours.items()):
        svg.append(f'<rect x="{20 + 110 * i}" y="40" width="12" height="12" '
                   f'fill="{colour}"/><text x="{38 + 110 * i}" y="51">{side}'
                   '</text>')
    svg.append(f'<line x1="{left + unit}" y1="{top - 8}" x2="{left + unit}" '
               f'y2="{height - 12}" stroke="#d0d3d8"/>')
    for i, line in enumerate(shown):
        y = top + i * step
        text = escape(line["title"])
        svg.append(f'<text x="{left - 10}" y="{y + 18}" text-anchor="end">'
                   f'{text}</text>')
        base = line["mainline"]["net"] if line["mainline"] else 0
        for j, (side, colour) in enumerate(colours.items()):
            figure = line[side]
            share = figure["net"] / base if figure and base > 0 else 0
            bar = max(0.0, min(share, most)) * unit
            label = "" if side in line["without"] else "failed"
            if figure:
                label = f'{number(figure["net"])} {line["unit"]}'
                if "met" in line and side == "ours":
                    label += f", target {target(line)}"
                if share > most:
                    label += f" ({100 * share:.0f} %)"
            svg.append(f'<rect x="{left}" y="{y + 2 + 13 * j}" width="{bar:.1f}" '
                       f'height="11" fill="{colour}"/><text x="{left + bar + 6:.1f}"'
                       f' y="{y + 12 + 13 * j}" font-size="10">{escape(label)}'
                       '</text>')
    svg.append("</svg>")
    return "\n".join(svg) + "\n"


def write(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def judge(lines, expected, results, verify):
    """Complain of what is missing or does not repeat; false if it matters."""
    good = True
    for side in TREES:
        have = {key[0] for key in results[side]}
        missing = [name for name in expected if name not in have]
        if missing:
            good = False
            print(f"error: no result on {side}: {' '.join(missing)}",
                  file=sys.stderr)
    loose = [f"{line['row']} {line['part']}".strip() + f" ({side}: "
             f"{line[side]['spread_percent']:.2f} %)"
             for line in lines for side in TREES
             if line[side] and line[side]["spread_percent"] > LIMIT]
    count = min((len(line[side]["repeats"]) for line in lines
                 for side in TREES if line[side]), default=0)
    if loose:
        good = good and not verify
        print(f"{'error' if verify else 'warning'}: not repeated within "
              f"{LIMIT:g} %: {', '.join(loose)}", file=sys.stderr)
    elif good:
        print(f"All figures repeat within {LIMIT:g} % ({count} passes).")
    missed = [line["title"] for line in lines if not line.get("met", True)]
    if missed:
        print(f"warning: target missed: {'; '.join(missed)}", file=sys.stderr)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    command = commands.add_parser("select")
    command.add_argument("names")
    command = commands.add_parser("table")
    command.add_argument("--out", required=True)
    command.add_argument("--expect", required=True)
    command.add_argument("--verify", action="store_true")
    args = parser.parse_args()

    rows = read_rows(args.rows)
    if not rows:
        parser.error(f"no rows in {args.rows}")
    if args.command == "list":
        show_rows(rows)
        return 0
    if args.command == "select":
        return select(rows, args.names)

    with open(args.expect, encoding="utf-8") as file:
        expected = [line.split()[0] for line in file if line.strip()]
    results, releases = {}, {}
    for side, tree in TREES.items():
        results[side], releases[side] = read_results(args.out, tree)
    lines = combine(rows, results)
    text = table(lines, releases)
    print(text, end="")
    write(os.path.join(args.out, "table.txt"), text)
    write(os.path.join(args.out, "bench.json"),
          json.dumps({"releases": releases, "results": lines}, indent=1) + "\n")
    write(os.path.join(args.out, "bench.svg"), chart(lines))
    return 0 if judge(lines, expected, results, args.verify) else 1


if __name__ == "__main__":
    sys.exit(main())
