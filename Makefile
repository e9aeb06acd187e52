# The commands of the house. PYTHON names the interpreter of the environment in use.
PYTHON ?= python

.PHONY: demo test slow check fix docs formats schemas bench lock

demo:            ## the whole road on the built-in sample, below demo/
	$(PYTHON) -m tracekit demo demo

test:            ## the quick tests
	$(PYTHON) -m pytest -q

slow:            ## the slow tests as well
	$(PYTHON) -m pytest -q -m "slow or not slow and not night"

check:           ## lint, format, types, quick tests
	$(PYTHON) -m ruff check src tests bench
	$(PYTHON) -m ruff format --check src tests bench
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q

fix:             ## what ruff can mend by itself
	$(PYTHON) -m ruff check --fix src tests bench
	$(PYTHON) -m ruff format src tests bench

docs:            ## the generated pages: docs/codes.md, docs/formats.md, the table of docs/house.md
	$(PYTHON) -c "from pathlib import Path; from tracekit.registry import page; Path('docs/codes.md').write_text(page(), 'utf-8')"
	$(PYTHON) bench/formats.py
	$(PYTHON) tests/house.py --write
	$(PYTHON) tests/token_example.py --write

formats:         ## docs/formats.md with its table of real folders: make formats TRACES=folder
	$(PYTHON) bench/formats.py --real $(TRACES)

schemas:         ## JSON Schemas of what is written and read
	$(PYTHON) -m tracekit schema --write schemas

bench:           ## tracekit, the plain script and datatrove in one session; some ten minutes
	$(PYTHON) bench/run.py --mb 60 --mb-middle 300 --mb-large 600

# Needs uv. torch and accelerate are left out: the oracles that need transformers and trl do not
# need them, and a lock with them would be gigabytes.
lock:            ## requirements.lock (hashes, all platforms) and constraints.txt
	printf 'torch ; python_version < "3"\naccelerate ; python_version < "3"\n' > .overrides.txt
	printf 'hatchling>=1.26\neditables\n' | uv pip compile - pyproject.toml \
	  --group test --group check --group oracle --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --override .overrides.txt -q -o requirements.lock
	rm .overrides.txt
	sed -n 's/ *\\$$//; /==/p' requirements.lock > constraints.txt
