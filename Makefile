# make setup | train | test | lint | docs | clean, e.g.  make train ARGS="--dataset_dir PATH"
# EXTRA names what is installed beside the package itself: make setup EXTRA= installs nothing else.

SHELL := /bin/bash
EXTRA = dev
SYSTEM_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup train test lint docs clean

setup: .venv/.done

train: setup
	python -m monai.bundle run training --config_file bundles/semicycle/configs/train.json$(if $(ARGS), $(ARGS))

# Two files of tests at a time, in the order of tests/conftest.py; ARGS="-n 0" is one process, ARGS="-n 8" are eight.
test: setup
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder$(if $(ARGS), $(ARGS))

lint: setup
	python -m ruff check .
	python -m ruff format --check .
	python -m mypy

# The documentation's site, into build/docs.
docs: setup
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
	@echo build/docs/index.html

# Everything make has made, not what training has (runs/).
clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is removed first and written last: a setup that was interrupted starts again from an empty .venv.
.venv/.done: setup.cfg pyproject.toml constraints.txt
	@if [ -e $@ ]; then rm $@; else \
	    python=$$($(FIND_PYTHON)); \
	    if [ -z "$$python" ]; then echo "$(NO_PYTHON)" >&2; exit 1; fi; \
	    echo "Making .venv with $$python; installing takes some minutes"; \
	    "$$python" -m venv --clear .venv; \
	fi
	@.venv/bin/python -m pip install -qq -c constraints.txt -e '.$(EXTRA:%=[%])'
	@touch $@

# The first Python that really runs (a shim may exist and fail) and can make a .venv: 3.11 or 3.12, which
# constraints.txt is made for, before anything newer. PYTHON names another: make setup PYTHON=/path/to/python
PYTHON ?= python3 python3.12 python3.11
FIND_PYTHON = PATH="$(SYSTEM_PATH)"; for newest in 12 99; do for python in $(PYTHON); do \
    "$$python" -c "import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" \
    2>/dev/null && command -v "$$python" && exit; done; done
NO_PYTHON = setup: none of ($(PYTHON)) is a Python 3.11 or newer with venv: run apt install python3-venv, or give make setup PYTHON=/path/to/python
