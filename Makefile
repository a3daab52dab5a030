# Every target sets up .venv by itself; nothing else has to be installed by hand besides Python (with venv) and make.
#   make app ARGS="--port 8000"          make test ARGS="-k media" WORKERS=0          make app PYTHON=python3.12
#   make test MARKERS=browser ARGS=--phone     make bench BENCHES=bench/page.py ARGS="--repeats 3"

# The first interpreter that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python
ARGS ?=
# Test processes side by side, and the tests that `make test` takes.
WORKERS ?= 2
MARKERS ?= not slow and not gpu
# The measurements that `make bench` takes.
BENCHES ?= bench/[!_]*.py

.DEFAULT_GOAL := help
.PHONY: help app test lint format bench mini screenshots

help:
	@echo 'make app     the chat, in the browser'
	@echo 'make test    the tests, without those marked slow or gpu (MARKERS="" for all)'
	@echo 'make lint    ruff: rules and format'
	@echo 'make format  lets ruff put right what it can'
	@echo 'make bench   every measurement in bench/'
	@echo 'make screenshots  pictures of the page, into docs/screenshots (ARGS="--out DIR")'
	@echo 'make mini    trains nextgpt-mini from nothing, or goes on where it stopped (hours)'

app: $(VENV)/.installed
	$(RUN) app.py $(ARGS)

test: $(VENV)/.installed-dev
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile -m "$(MARKERS)" $(ARGS)

lint: $(VENV)/.installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.installed-dev
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

# Files that start with an underscore are helpers of the others. One that cannot measure here does not keep the rest.
bench: $(VENV)/.installed-dev
	@failed=; for file in $(BENCHES); do \
		echo "== $$file"; PYTHONPATH=. $(RUN) "$$file" $(ARGS) || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "Not measured:$$failed"; exit 1; }

screenshots: $(VENV)/.installed-dev
	$(RUN) tests/web/screenshots.py $(ARGS)

mini: $(VENV)/.installed
	$(RUN) -m nextgpt_chat train all --resume $(ARGS)

# A stamp per requirement file: changed files install again, unchanged ones cost nothing.
$(VENV)/.installed: requirements.txt constraints.txt | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt constraints.txt | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $@ $(VENV)/.installed

$(RUN):
	@python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
		echo 'No Python 3.11 or newer was found. Install one (Debian, Ubuntu: apt install python3 python3-venv;'; \
		echo 'macOS: brew install python@3.12), or name it: make PYTHON=/path/to/python3.12 ...'; exit 1; fi; \
	if ! "$$python" -c '' 2>/dev/null; then \
		echo "$$python does not start. Name a Python 3.11 or newer: make PYTHON=/path/to/python3.12 ..."; exit 1; fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "$$python is $$("$$python" --version 2>&1); Python 3.11 or newer is needed:" \
			'make PYTHON=/path/to/python3.12 ...'; exit 1; fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtual environments: a part of it is missing." \
			'Install it (Debian, Ubuntu: apt install python3-venv).'; exit 1; fi; \
	"$$python" -m venv $(VENV)
