"""Runs a recipe of docs/analysts.md, with these variables in its environment; prints its answer."""

import json
import os
import sys

os.environ.update(json.loads(sys.argv[1]))
scope = {}
exec(sys.argv[2], scope)
print(json.dumps([value.item() if hasattr(value, "item") else value for value in scope["answer"]]))
