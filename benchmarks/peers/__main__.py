"""``python -m benchmarks.peers``: run, print, write. Ctrl-C ends every process and prints what there is."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

from benchmarks.machine import Load, facts
from benchmarks.peers import picture, report
from benchmarks.peers.roster import ROSTER, Entry
from benchmarks.peers.run import CELLS, FULL, QUICK, Row, Run
from isopod.cli.screen import Screen

_JSON, _MARKDOWN, _PICTURE = "peers.json", "peers.md", "peers.svg"


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.list:
        print("\n".join(entry.name for entry in ROSTER))
        return 0
    if options.of:
        rows, machine = report.load(options.of)
        _write(rows, machine, options)
        return 0
    run = Run(_chosen(options.only), CELLS, QUICK if options.quick else FULL, kills=not options.no_kills)
    before = Load.now()
    code = 0
    try:
        run()
    except KeyboardInterrupt:
        code = 130
    machine = {
        **facts(),
        "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        **Load.now().since(before),
    }
    if os.getloadavg()[0] > len(os.sched_getaffinity(0)):
        machine["mind"] = "others kept the processors busy: the minima tell more than the medians"
    if code:
        machine["finished"] = "no: it was interrupted"
    _write(run.rows, machine, options)
    return code


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="isopod and its peers, in one run.")
    parser.add_argument("--quick", action="store_true", help="coarser figures")
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose names hold it; may be given again")
    parser.add_argument("--no-kills", action="store_true", help="leave out what becomes of a killed worker")
    parser.add_argument("--list", action="store_true", help="name the rows, and do nothing")
    parser.add_argument("--from", dest="of", type=Path, metavar="FILE", help="show what an earlier run wrote as JSON")
    help_ = f"write {_JSON}, {_MARKDOWN} and {_PICTURE} there"
    parser.add_argument("--into", type=Path, metavar="FOLDER", help=help_)
    return parser.parse_args(arguments)


def _chosen(only: list[str] | None) -> list[Entry]:
    wanted = [text.lower() for text in only or [""]]
    return [entry for entry in ROSTER if any(text in entry.name.lower() for text in wanted)]


def _write(rows: list[Row], machine: dict[str, str], options: argparse.Namespace) -> None:
    report.show(Screen(), rows, machine)
    if options.into is None:
        return
    folder: Path = options.into
    folder.mkdir(parents=True, exist_ok=True)
    report.dump(rows, machine, folder / _JSON)
    drawn: str | None = None
    try:
        picture.draw(rows, f"{machine['processor']}, {machine['cores']} cores, {machine['date']}", folder / _PICTURE)
        drawn = _PICTURE
    except ImportError:
        print("no picture: it needs matplotlib (pip install 'isopod[plot]')", file=sys.stderr)
    (folder / _MARKDOWN).write_text(report.markdown(rows, machine, drawn), encoding="utf-8")
    print(f"written: {os.fspath(folder)}/{{{','.join(filter(None, (_JSON, _MARKDOWN, drawn)))}}}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
