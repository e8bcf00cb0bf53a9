"""Print the perplexities of ptb.sh as a table, with mean and standard deviation over seeds.

The perplexity of `fairseq-lstm` is not comparable: its state starts from zero every 1,024 tokens.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the package may not be installed
from fairseq_wsum.study.tables import spread

SPLITS = ("valid", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("out", type=Path, help="the --out folder of ptb.sh (such as runs/ptb)")
    args = parser.parse_args()
    found: dict[tuple[str, int, str], list[dict[str, float]]] = defaultdict(list)
    for path in sorted(args.out.glob("*/*/epochs-*-seed-*/perplexity.json")):
        run, model, size = path.parent, path.parent.parent.name, path.parent.parent.parent.name
        if not (run / "finished").exists():
            print(
                f"left out: {run} has the scores of a training that is not finished",
                file=sys.stderr,
            )
            continue
        epochs = int(re.findall(r"epochs-(\d+)", run.name)[0])
        figures = json.loads(path.read_text())
        found[size, epochs, model].append({split: float(figures[split]) for split in SPLITS})
    if not found:
        parser.error(f"{args.out} has no results of ptb.sh")
    print("| size | epochs | model | seeds | valid | test |\n|---|---|---|---|---|---|")
    for (size, epochs, model), runs in sorted(found.items()):
        cells = [spread([run[split] for run in runs], digits=1) for split in SPLITS]
        print(f"| {size} | {epochs} | `{model}` | {len(runs)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
