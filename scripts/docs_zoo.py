"""Copy the table of the zoo into the README, between its two marks, and its figures into docs/figures."""

import shutil
from pathlib import Path

from avigap import cli
from avigap.errors import InputError
from avigap.paths import check_input, write_text

ROOT = Path(__file__).resolve().parents[1]
MARKS = "<!-- table of the zoo -->", "<!-- end of the table -->"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--zoo", type=Path, default=ROOT / "zoo", help="folder that `make zoo` wrote")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file with the two marks")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/figures", help="folder to copy figures to")
    args = parser.parse_args()
    table, text = args.zoo / "results/programs.md", args.readme.read_text(encoding="utf-8")
    check_input(table)
    if any(text.count(mark) != 1 for mark in MARKS):
        raise InputError(f"{args.readme} must have the marks {' and '.join(MARKS)} once each")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    write_text(args.readme, f"{before}{MARKS[0]}\n{table.read_text(encoding='utf-8')}{MARKS[1]}{after}")
    for stem in ("program_gaps", "program_parts"):
        picture = args.zoo / f"figures/{stem}.png"
        check_input(picture)
        shutil.copyfile(picture, args.output / picture.name)


if __name__ == "__main__":
    cli.run(main)
