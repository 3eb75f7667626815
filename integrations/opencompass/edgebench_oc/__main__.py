"""`python -m edgebench_oc`"""

import sys

from .cli import main

sys.exit(main())
