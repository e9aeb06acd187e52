"""A result of the bench as a Markdown table, printed or put into a page between its marks.

python bench/table.py bench/results/bench.json [--write README.md]
"""

import argparse
import json
import sys
from pathlib import Path

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def table(result: dict) -> str:
    machine = result["machine"]
    lines = [f"| {name} | |\n|---|---|" for name in ["ratios"]]
    lines += [f"| {name} | {value:,.1f} |" for name, value in result["ratios"].items()]
    lines += [
        "",
        "| whole processes, start-up included | MB | s | MB/s | CPU s/GB | peak MiB | kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in result["runs"]:
        cells = (r["name"], f"{r['mb']:.0f}", r["wall_s"], r["mb_per_s"], r["cpu_s_per_gb"])
        lines.append("| " + " | ".join(map(str, (*cells, f"{r['peak_mib']:,}", r["kept"]))) + " |")
    named = ", ".join(f"{k} {v}" for k, v in result["versions"].items() if k != "tracekit-curation")
    lines += [
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, {result['date']}: `{result['command']}`. {named}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--write", type=Path, help="a page with the two marks")
    options = parser.parse_args()
    made = table(json.loads(options.result.read_text("utf-8")))
    if options.write is None:
        print(made)
        return
    text = options.write.read_text("utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"{options.write} has no {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    page = f"{before}{BEGIN}\n{made}\n{END}{rest.split(END, 1)[1]}"
    options.write.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
