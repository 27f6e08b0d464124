"""Send a task, and print its id, which is the id of its run."""

import sys

from tasks import resize

print(resize.delay(int(sys.argv[1]), *map(float, sys.argv[2:])).id)
