"""python -m modeledge"""

from modeledge.cli import main

main()
