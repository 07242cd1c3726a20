# make demo       out/demo.mp4: a photo speaks
# make test       lint, types and all tests, in two processes
# make fast       lint, types and the tests that take no time
# make browser    install the browser that the study's page is tested in; as root, on Debian
#
# The first three make .venv first, where it is missing. Another build of torch, for example for a GPU:
#   make demo TORCH=torch==2.13.0+cu130 PIP_EXTRA_INDEX_URL=https://...    or    TORCH=path/to/torch.whl

PYTHON ?= python3
TORCH ?= torch==2.13.0

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadscope

.PHONY: demo test fast lint browser

demo: $(READY)
	mkdir -p out
	$(BIN)/python examples/astronaut.py out/astronaut.png
	$(BIN)/kptalk animate out/astronaut.png examples/speech.mp3 -o out/demo.mp4 --overwrite

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	@command -v chromedriver >/dev/null || echo "no chromedriver: the study's page is not tested in a browser; see 'make browser'"
	$(PYTEST)

fast: lint
	$(PYTEST) -m "not slow"

browser:
	command -v chromedriver || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium chromium-driver; }

# Where another torch is asked for, a finished .venv is brought up to it.
ifneq ($(origin TORCH),file)
.PHONY: $(READY)
endif

# Debian's Python may come without ensurepip: then the system's pip puts pip into .venv.
$(READY): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "kptalk needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv || \
		{ $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(PIP) install --constraint constraints.txt "$(TORCH)" hatchling editables
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable ".[test]"
	touch $@

# make docs    the pages made from the program, then the site: site/index.html; a warning is an error
# make lock    constraints.txt from pyproject.toml, one version for all systems and Pythons; keeps the versions that still
#              fit, LOCK=--upgrade takes the newest
.PHONY: docs lock

docs: $(READY)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra test --group lock --no-emit-package torch --python-version 3.11 --universal \
		--fork-strategy fewest --no-annotate --custom-compile-command "make lock" --quiet $(LOCK) -o constraints.txt
