"""`python -m dapter`, which `python -m torch.distributed.run` needs to start several processes."""

import sys

from dapter.cli import main

if __name__ == "__main__":
    sys.exit(main())
