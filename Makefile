# The commands for a clone. Each target runs the set-up that it needs first; steps that are up to date are skipped.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print(1)' 2>/dev/null),$(p))) python3)
SEEDS ?= 10000
BROKERS ?= memory nats redis amqp
BIN := .venv/bin
SETUP := $(PYTHON) .ci/setup.py

.PHONY: help up setup test lint conformance bench sim

help:            ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1|/p' Makefile | column -t -s '|'

up:              ## set up, then run the fabric with the example servers (PORT=8080)
	@$(SETUP) up
	@exec $(BIN)/mcp-fabric up examples/mcp.json $(if $(PORT),--http 127.0.0.1:$(PORT))

setup:           ## set up everything, brokers and Node included
	@$(SETUP) test

test: lint       ## style, types, and every test but the official suites; two at a time, because most of them wait
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/conformance

lint: setup      ## style, types, and the imports between packages
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

conformance: setup ## the official MCP suites on every broker (BROKERS="nats amqp")
	CONFORMANCE_BROKERS="$(BROKERS)" $(BIN)/python -m pytest tests/conformance

bench: setup     ## benchmarks, beside a relay without a broker and other proxies, which it installs (BENCH="--only relay embedded")
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks $(BENCH)

sim: setup       ## the deterministic simulation (SEEDS=10000)
	$(BIN)/python -m tests.sim --seeds $(SEEDS)
