# Biyi: `make` lists what can be done. Set-up happens by itself; PYTHON=... chooses the interpreter.
SHELL := /bin/sh
VENV := .venv/bin
# Each run of the tests gets what is behind ARGS, for instance: make test ARGS="-k grant"
ARGS ?=
UV ?= uv

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test check bench bench-core bench-peers bench-ueba test-cluster test-browser test-rules test-spark lint-manifests faults lock clean venv-run venv-dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

demo: venv-run ## both sites up, money lent, a site killed under load, what was lost (nothing); its console stays up
	@$(VENV)/biyi demo $(ARGS)

demo-down: ## stop what make demo left up
	@$(VENV)/biyi demo --down

test: venv-dev ## run the tests against real servers, 20 to 33 minutes (the slow ones: make faults)
	@$(VENV)/python -m pytest -m "not slow and not spark and not cluster" -n 2 --dist=loadscope --durations=10 --session-timeout=2700 $(ARGS)

check: venv-dev ## style, types, import rules, house rules
	@$(VENV)/ruff check --quiet . && echo "[check] ruff check: ok"
	@$(VENV)/ruff format --quiet --check . && echo "[check] ruff format: ok"
	@$(VENV)/mypy --no-error-summary && echo "[check] mypy --strict: ok"
	@$(VENV)/lint-imports --no-cache
	@$(VENV)/python -m pytest -q --no-header -p no:cacheprovider tests/test_house_rules.py

bench: venv-dev ## run every bench, compare with the last results, draw the goals, three and a half hours (ARGS="reads core", ARGS=--show)
	@$(VENV)/python -m bench $(ARGS)

bench-core: venv-dev ## repayments, draws and day-end beside pgbench and bare SQL, about 2 minutes
	@$(VENV)/python -m bench.core $(ARGS)

bench-peers: venv-dev ## the same site loss, ours and Patroni's in turn, about 10 minutes (ARGS="--runs 2")
	@$(VENV)/python -m bench.peers $(ARGS)

test-cluster: venv-dev ## two real Kubernetes API servers and the real Pulumi engine, 15 minutes (builds them first: 20)
	@tools=$$(.ci/cluster-tools) && BIYI_CLUSTER_TOOLS=$$tools $(VENV)/python -m pytest tests/cluster --durations=10 $(ARGS)

test-browser: venv-dev ## the web console in a real browser against a stand of its own, about 4 minutes (needs Chromium)
	@.ci/test-browser $(ARGS)

test-rules: ## run Prometheus' own tests of the alert rules (needs promtool, of Debian's package prometheus)
	@command -v promtool >/dev/null || { echo "make test-rules needs promtool (apt-get install prometheus)" >&2; exit 2; }
	@promtool check rules infra/observability/rules.yaml
	@promtool test rules infra/observability/rules.test.yaml

lint-manifests: venv-dev ## run checkov over the manifests of both sites (sets up .venv-lint, about a minute)
	@.ci/lint-manifests

bench-ueba: venv-dev ## staff-behaviour scoring: found misuse, real labelled users, speed, about 10 minutes
	@$(VENV)/python -m bench.staff_behaviour $(ARGS)

test-spark: venv-dev ## the same features on Spark and on DuckDB (needs Java 17 and pip install 'biyi[spark]')
	@$(VENV)/python -m pytest -m spark $(ARGS)

faults: venv-dev ## run the slow tests: real faults on the whole stand
	@$(VENV)/python -m pytest -m slow --durations=10 $(ARGS)

lock: ## write the lock files anew from pyproject.toml (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv (pip install uv), or UV=/path/to/uv" >&2; exit 2; }
	@.ci/lock $(UV)

clean: ## remove what was made: .venv, caches (a running stand's .biyi stays: biyi stand down)
	@rm -rf .venv .venv-peers .venv-lint .venv-browser .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build biyi.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One after the other, also under -j: the second adds to what the first made.
venv-run:
	@.ci/venv run

venv-dev:
	@.ci/venv dev
