# Kopilka: every command a developer or CI runs. `make` alone lists them.
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test simulate torture fuzz test-hardware lint types imports setup bench bench-api bench-devices bench-screen bench-rules pictures clean

help: ## this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## build .venv and the translations (done by the others when needed)

# A second run starts at once: the stamp is newer than what it was made from.
$(STAMP): pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(VENV)
	@touch $@

MO := $(patsubst %.po,%.mo,$(wildcard locale/*/LC_MESSAGES/*.po))
%.mo: %.po | $(STAMP)
	@$(BIN)/pybabel -q compile -i $< -o $@

demo: $(STAMP) $(MO) ## play a shift: a centre, a till, a virtual scanner and printer
	@$(BIN)/kopilka-agent demo

# Only walks through the pages and `make pictures` need a browser, so the demo does not install one.
BROWSER := $(VENV)/.browser
$(BROWSER): $(STAMP) scripts/browser.sh
	@scripts/browser.sh
	@touch $@

test: $(STAMP) $(MO) $(BROWSER) lint types imports ## all checks and all tests
	@$(BIN)/pytest -n $(JOBS) -q

simulate: $(STAMP) ## the chain in which everything goes wrong (STEPS=…, SEED=… to play a run again; BUGS=1: hunt planted bugs)
	@$(BIN)/python -m tests.sim$(if $(BUGS),.hunt) $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED))

torture: $(STAMP) $(MO) ## cut the power of a busy shift, 200 times (ROUNDS=…, SEED=… to play a run again)
	@$(BIN)/python -m tests.e2e.torture $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED))

fuzz: $(STAMP) ## a million random streams through every framer and decoder (STREAMS=…, SEED=…, TARGET=…)
	@$(BIN)/python -m tests.fuzz $(if $(STREAMS),--streams $(STREAMS)) $(if $(SEED),--seed $(SEED)) $(if $(TARGET),--target "$(TARGET)")

test-hardware: $(STAMP) $(MO) ## real devices of a real kernel, and a true power cut, in a QEMU guest (ARGS=-k…)
	@scripts/hardware.sh $(VENV) $(ARGS)

lint: $(STAMP) ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

imports: $(STAMP) ## who may import whom
	@$(BIN)/lint-imports

bench: $(STAMP) $(MO) ## time the ledger and its sync, in ratios (ARGS=--help)
	@$(BIN)/python -m bench.ledger $(ARGS)

bench-api: $(STAMP) $(MO) ## time the loopback API at a steady rate and in a flood (ARGS=--help)
	@$(BIN)/python -m bench.api $(ARGS)

bench-devices: $(STAMP) $(MO) ## time scanners and slips, the start of a till, and its size (ARGS=--help)
	@$(BIN)/python -m bench.devices $(ARGS)

bench-screen: $(STAMP) $(MO) $(BROWSER) ## time the cashier's page, from a card's scan to what is shown (ARGS=--help)
	@$(BIN)/python -m bench.screen $(ARGS)

# The peers come with the extra `bench`; nothing else needs them.
PEERS_STAMP := $(VENV)/.peers
$(PEERS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[central,dev,bench]'
	@touch $@

bench-rules: $(STAMP) $(if $(PEERS),$(PEERS_STAMP)) ## time the rule engine (PEERS=1: others too; ARGS=--help)
	@$(BIN)/python -m bench.rules $(if $(PEERS),--peers) $(ARGS)

pictures: $(STAMP) $(MO) $(BROWSER) ## draw docs/images anew from a played demo (needs chromium, graphviz)
	@$(BIN)/python -m scripts.pictures

clean: ## remove what make built
	rm -rf $(VENV) demo-out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find locale -name '*.mo' -delete
