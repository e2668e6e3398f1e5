"""Write a data set of images: scikit-learn's digits, MNIST, Fashion-MNIST, or IDX files of your own."""

from pathlib import Path

from avigap import cli
from avigap.images.files import write_images
from avigap.images.idx import SOURCES, load
from avigap.paths import check_output


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--source", choices=SOURCES, required=True)
    parser.add_argument("--held-out", type=cli.whole(1), required=True, help="unseen images")
    parser.add_argument("--num-train", type=cli.whole(1), help="keep only the first ones to train with")
    parser.add_argument("--folder", type=Path, help="of the IDX files of mnist or fashion_mnist, loaded if they lack")
    parser.add_argument("--train", type=Path, help="IDX file of source idx")
    parser.add_argument("--test", type=Path, help="IDX file of source idx")
    parser.add_argument("--output", type=Path, required=True, help="netCDF file to write")
    args = parser.parse_args()
    files = [path for path in (args.train, args.test) if path is not None]
    check_output(args.output, files)
    images = load(args.source, args.held_out, args.folder, args.train, args.test)
    images = images._replace(train=images.train[: args.num_train])
    write_images(args.output, images, args.source, files)
    cli.print_result({"source": args.source, "train": len(images.train), "held_out": len(images.test)})


if __name__ == "__main__":
    cli.run(main)
