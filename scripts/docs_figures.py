"""Copy the PNG files of a folder of figures into docs/figures, and say which of the README's are missing."""

import re
import shutil
import sys
from pathlib import Path

from avigap import cli
from avigap.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--figures", type=Path, default=ROOT / "figures", help="folder with the workflow's figures")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file that shows docs/figures/*.png")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/figures", help="folder to copy to")
    args = parser.parse_args()
    pictures = sorted(args.figures.glob("*.png"))
    if not pictures:
        raise InputError(f"{args.figures} holds no PNG file; `make figures` draws them")
    args.output.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        shutil.copyfile(picture, args.output / picture.name)
        print(args.output / picture.name)
    shown = set(re.findall(r"docs/figures/([\w.-]+\.png)", args.readme.read_text(encoding="utf-8")))
    missing = sorted(shown - {picture.name for picture in pictures})
    if missing:
        sys.exit(f"docs_figures.py: {args.readme.name} shows {', '.join(missing)}, which {args.figures} lacks")


if __name__ == "__main__":
    cli.run(main)
