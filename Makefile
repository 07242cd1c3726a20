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
# The list is complete, so nothing is left to resolve; pyproject.toml says under [tool.uv] why --no-deps.
$(READY): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 12) else "the pinned versions are for Python 3.11 and 3.12: make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv || \
		{ $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(PIP) install --constraint constraints.txt "$(TORCH)"
	$(PIP) install --no-deps --requirement constraints.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

# make docs    the pages made from the program, then the site: site/index.html; a warning is an error
# make lock    constraints.txt from pyproject.toml; keeps the versions that still fit, LOCK=--upgrade takes the newest
.PHONY: docs lock

docs: $(READY)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: $(READY)
	$(PIP) install --quiet uv==0.13.9
	$(BIN)/uv pip compile pyproject.toml --extra test --group lock --no-emit-package torch --python-version 3.11 \
		--python-platform x86_64-manylinux_2_28 --no-annotate --custom-compile-command "make lock" --quiet $(LOCK) -o constraints.txt
