# Fresh machine, two commands: `make sweep` and `make test`. Both make .venv and install into it.
#
#   make sweep                     a small sweep on the bundled tunes
#   make sweep NAME=mine           ... under a name of your own
#   make sweep DATA=corpora/mine   ... on a corpus by `aurl prepare`
#   make sweep ARGS="--trials 4"   ... with any other option of run_sweep.py
#   make test                      every test that needs neither a GPU nor root
#   make hosts                     clusters of several hosts, as network namespaces: root, 10 minutes
#   make check                     format, lint and types
#   make bench                     every benchmark, one after another
#   make clean                     remove what tests, tools and installation left, but no results

# Not `?=`: some systems set NAME in the environment, to something else.
NAME := quick-$(shell date +%Y%m%d-%H%M%S)
SPACE := search_spaces/quick.yaml
DATA :=
ARGS :=

BIN := .venv/bin
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt
UV = $(BIN)/python -m uv pip install -q --python $(BIN)/python \
  --index-strategy unsafe-best-match -c constraints.txt
PIP_SETTINGS = $(BIN)/python -m pip config list | sort -r | sed -nE \
  -e 's/^[^=]*\.index-url=/UV_DEFAULT_INDEX=/p' -e 's/^[^=]*\.extra-index-url=/UV_INDEX=/p' \
  -e 's/^[^=]*\.find-links=/UV_FIND_LINKS=/p' -e 's/^[^=]*\.no-index=/UV_NO_INDEX=/p' \
  -e 's/^[^=]*\.cert=/SSL_CERT_FILE=/p'
PYTHONS := python3 python3.13 python3.12 python3.11 python
export RAY_USAGE_STATS_ENABLED := 0
unexport PYTHONDONTWRITEBYTECODE  # what one process has compiled, the next does not

.PHONY: sweep test hosts check bench clean

sweep: .venv/installed
	@$(BIN)/python run_sweep.py "$(SPACE)" --name "$(NAME)" $(if $(DATA),--data "$(DATA)") $(ARGS)
	@echo "These commands are in .venv: source .venv/bin/activate"

test: .venv/installed-dev
	@$(BIN)/python -m pytest -m "not gpu and not hosts" --numprocesses 2 --dist loadgroup

hosts: .venv/installed-dev
	@$(BIN)/python -m pytest tests/test_hosts.py -m cluster -s --durations 0

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

bench: .venv/installed
	@for each in benchmarks/*.py; do echo "$$each"; $(BIN)/python "$$each" || exit 1; done

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .coverage build dist
	find aurl tests -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: $(BIN)/python pyproject.toml constraints.txt
	$(call install,.)

.venv/installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(call install,.[dev])
	@touch .venv/installed

$(BIN)/python:
	@found=; for each in $(PYTHONS); do \
	  if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then found=$$each; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "aurl needs Python 3.11 or newer, and none of these is one: $(PYTHONS)." >&2; \
	  echo "Install it, or name yours: make $(MAKECMDGOALS) PYTHONS=path/to/python" >&2; \
	  exit 2; \
	fi; \
	$$found -m venv --clear .venv || { \
	  rm -rf .venv; \
	  echo "$$found cannot make .venv. On Debian and Ubuntu, install python3-venv." >&2; \
	  exit 2; \
	}

# uv installs in a fifth of pip's time, but reads none of its settings, so it is told them. Where it
# cannot, pip does: the pinned one, as that of Python 3.11 takes 59 CPU seconds to choose, not 20.
define install
	@echo "Installing aurl into .venv: minutes the first time, at most."
	@if ! ( set -a; eval "$$($(PIP_SETTINGS))"; \
	  $(PIP) --only-binary uv uv && $(UV) -e '$(1)' ) 2>/dev/null; then \
	  echo "uv could not; pip installs it, which takes longer."; \
	  $(PIP) --upgrade pip && $(PIP) -e '$(1)'; \
	fi
	@touch $@
endef
