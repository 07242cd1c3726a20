# make demo    out/demo.mp4: a photo speaks
# make test    lint, types and tests
#
# Both make .venv first, where it is missing. Another build of torch, for example for a GPU:
#   make demo TORCH=torch==2.13.0+cu130 PIP_EXTRA_INDEX_URL=https://...    or    TORCH=path/to/torch.whl

PYTHON ?= python3
TORCH ?= torch==2.13.0

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test browser

demo: $(READY)
	mkdir -p out
	$(BIN)/python examples/astronaut.py out/astronaut.png
	$(BIN)/kptalk animate out/astronaut.png examples/speech.mp3 -o out/demo.mp4 --overwrite

test: $(READY) browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

# The study's page is tested in a browser; where none can be installed those tests are skipped and say so.
browser:
	@command -v chromedriver >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
		chromium chromium-driver; } >/dev/null 2>&1 || echo "no browser could be installed: its tests are skipped"

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
