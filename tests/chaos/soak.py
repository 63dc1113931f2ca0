"""The soak as a command: many runs under random faults; see `soaking.py`.

python tests/chaos/soak.py --minutes 10 --runs 64 --workers 4 --database sqlite --seed 1
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(1, str(Path(__file__).parents[1]))
    from soaking import main

    sys.exit(main(sys.argv[1:]))
