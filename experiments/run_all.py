"""Put every claim of this folder to the test, one after the other, and write docs/claims.md.

    python experiments/run_all.py --out runs/claims
    python experiments/run_all.py --out runs/claims objective_table sharing    # only these
    python experiments/run_all.py --out runs/claims-brief --brief              # a few steps of each: does it run?

It can be stopped and started again: finished cells are kept in --out. What came out goes to results/ beside this file,
except with --brief."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from modeledge.core import ModeledgeError
from modeledge.run.outcome import FILE, claims_in, page
from modeledge.run.trial import try_claim

HERE = Path(__file__).parent


def main() -> None:
    """Read the arguments, run what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these experiments, in this order")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default=os.environ.get("MODELEDGE_DATA", "data"))
    parser.add_argument("--brief", action="store_true", help="one seed and two steps of everything")
    arguments = parser.parse_args()
    failed = []
    known = {path.stem: path for path in claims_in(HERE)}
    for name in arguments.names or known:
        if name not in known:
            parser.error(f"no experiment {name!r}: {', '.join(known)}")
        out = arguments.out / name
        try:
            outcome = try_claim(known[name], out=out, data=[arguments.data], brief=arguments.brief)
        except ModeledgeError as error:
            print(f"{name}: {error}")
            failed.append(name)
            continue
        print(outcome, end="\n\n", flush=True)
        if not arguments.brief:
            (HERE / "results").mkdir(exist_ok=True)
            shutil.copyfile(out / FILE, HERE / "results" / f"{name}.json")
            (HERE.parent / "docs" / "claims.md").write_text(page(HERE), encoding="utf-8")
    if failed:
        raise SystemExit(f"not done: {', '.join(failed)}")


if __name__ == "__main__":
    main()
