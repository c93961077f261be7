# What can be done here. PYTHON and TORCH may be set: make venv PYTHON=python3.12 TORCH=2.13.0
TORCH  ?= 2.13.0
PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
BIN    := .venv/bin
READY  := .venv/.ready
# What `make wheel-test` leaves out, as a pytest marker expression.
WHEEL  ?= not slow and not browser
WHEEL_TESTS ?= tests
# At most so many rows of each test table in `make test`, evenly spread.
MOST   ?= 2
LESSONS ?= 100
BROWSER ?= browser

.PHONY: venv demo test test-all check browser-test wheel-test proofs docs papers bench clean

venv: $(READY)

# torch first and pinned: a resolver left alone would pick another build of it.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q torch==$(TORCH)
	$(BIN)/python -m pip install -q -e '.[test,dev,docs,transformers,keras,plots,lightning,watch,lab,treat,browser]' torch==$(TORCH)
	touch $@

demo: venv
	$(BIN)/python examples/demo.py

# Style and types: seconds. They gate the tests.
check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -q -m "not slow and not browser" -n 2 --most $(MOST)

# Every row of every table, and the slow tests.
test-all: check
	$(BIN)/python -m pytest -q -m "not browser" -n 2

# The lab in a real Chromium; three minutes. Pictures of what was seen are left in build/lab.
# At most LESSONS rows of each table.
browser-test: venv
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  sudo="$$(test "$$(id -u)" = 0 || echo sudo)"; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium chromium-driver; }
	$(BIN)/python -m pytest -q -m "$(BROWSER)" --most $(LESSONS) tests/lab

# The tests against the built wheel, from an empty folder. The fresh venv borrows the third-party
# packages of .venv through a .pth file; .pth files of a borrowed folder are not read, so the
# editable install, and with it src/, is out of reach. conftest.py checks that again.
wheel-test: venv
	@set -eu; root="$$PWD"; tmp="$$(mktemp -d)"; trap 'rm -rf "$$tmp"' EXIT; \
	"$$root/$(BIN)/python" -m build --wheel --no-isolation --outdir "$$tmp/dist" . >"$$tmp/build.log" 2>&1 \
	  || { cat "$$tmp/build.log"; exit 1; }; \
	"$$root/$(BIN)/python" -m venv --without-pip "$$tmp/venv"; \
	site="import sysconfig; print(sysconfig.get_path('purelib'))"; \
	"$$root/$(BIN)/python" -c "$$site" > "$$tmp/borrowed.pth"; \
	mv "$$tmp/borrowed.pth" "$$("$$tmp/venv/bin/python" -c "$$site")/"; \
	"$$tmp/venv/bin/python" -m pip install -q --no-index --no-deps --force-reinstall "$$tmp"/dist/*.whl; \
	mkdir "$$tmp/empty"; cd "$$tmp/empty"; \
	LOCKSTEP_MUST_COME_FROM="$$tmp/venv" "$$tmp/venv/bin/python" -m pytest -q -p no:cacheprovider -n 2 --most 1 \
	  -c "$$root/pyproject.toml" --rootdir "$$root" -m "$(WHEEL)" $(addprefix "$$root"/,$(WHEEL_TESTS))

# The theory, checked by Coq from scratch; installs Coq from Debian where it is missing.
proofs:
	$(MAKE) -C proofs install
	$(MAKE) -C proofs clean
	$(MAKE) -C proofs check

# The site, strict, into site/; nothing is loaded from elsewhere when it is read.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Every published number that can be run again: docs/papers-table.md and its figures. Minutes; PAPERS="xnor lora" runs these.
papers: venv
	$(BIN)/python -m examples.papers $(PAPERS)

bench: venv
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
