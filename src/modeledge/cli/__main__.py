"""python -m modeledge.cli"""

from modeledge.cli import main

main()
