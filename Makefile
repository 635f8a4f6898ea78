# Type `make` for the list of words.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Tools are pinned here and nowhere else. golangci-lint brings gofumpt and gci.
GOLANGCI_VERSION := v2.15.0

VERSION  ?= $(shell git describe --tags --exact-match 2>/dev/null || echo dev)
BUILDVCS := $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)
FUZZTIME ?= 5s
ARGS     ?=

TOOLS    := $(CURDIR)/bin/tools
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
CLIENTS  := test/clients/node_modules/.package-lock.json
GOTEST   := go run ./test/gotest $(if $(filter true,$(CI)),-strict)

# These mostly wait: begun first, the others run beside them.
LONGEST := ./test/relay ./test/clients

# Heavy tests are those named TestHeavy…: with the race detector they would take
# minutes, so they run once without it.
HEAVY := ^TestHeavy
# Those named TestNightly… take minutes even so, and run with the nightly tests.
NIGHTLY := ^TestNightly

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5) ":"} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Running

.PHONY: run
run: build ## start Realms on 127.0.0.1:8080, data in ./data
	bin/realms serve $(ARGS)

.PHONY: demo
demo: build ## start Realms with a sample upstream: no key, no network, a fresh store
	bin/realms demo $(ARGS)

.PHONY: dev
dev: ## like run, with debug logs; builds and starts anew whenever a Go file changes
	scripts/dev

.PHONY: build
build: ## build bin/realms
	CGO_ENABLED=0 go build -trimpath -buildvcs=$(BUILDVCS) -ldflags '-s -w -X realms/internal/version.number=$(VERSION)' -o bin/realms ./cmd/realms

##@ Testing

.PHONY: test
test: clients ## run every test but the nightly ones; what cannot run here is skipped and listed with its reason
	$(GOTEST) -skip '$(NIGHTLY)' ./...
	@echo 'The nightly tests were left out, because they take many minutes: make test-nightly'

.PHONY: test-race
test-race: clients ## run every test but the heavy ones under the race detector
	$(GOTEST) -race -timeout 15m -skip '$(HEAVY)|$(NIGHTLY)' $(LONGEST) ./...

.PHONY: test-heavy
test-heavy: ## run the heavy tests (TestHeavy…)
	scripts/heavy '$(HEAVY)'

.PHONY: test-nightly
test-nightly: test-race test-heavy ## everything, the nightly tests, and ten minutes of each fuzz target
	scripts/heavy '$(NIGHTLY)'
	FUZZTIME=10m scripts/fuzz

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (5s)
	FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: bench
bench: build ## measure Realms beside a bare proxy; writes bench/RESULTS.md (minutes; keep the machine quiet)
	@mkdir -p bin
	go build -o bin/bench ./bench
	bin/bench -out bench/RESULTS.md $(ARGS)
	{ printf '\n## Choosing among 1,000 credentials\n\nThe scheduler alone, from `go test -bench BenchmarkNext ./internal/scheduler`: by how they lie, and how many an\nupstream has said not to ask.\n\n```\n'; \
	  go test -run '^$$' -bench BenchmarkNext -benchmem ./internal/scheduler | grep ^Benchmark; printf '```\n'; } >> bench/RESULTS.md

##@ Habits

.PHONY: check
check: ## what CI runs: all of the below, then a summary
	scripts/check check-format check-modules check-generated lint vet test-race test-heavy fuzz

.PHONY: fmt
fmt: $(GOLANGCI) ## format all Go code (gofumpt, imports grouped)
	$(GOLANGCI) fmt

.PHONY: lint
lint: $(GOLANGCI) ## run the linters
	$(GOLANGCI) run

.PHONY: vet
vet: ## run go vet
	go vet ./...

.PHONY: generate
generate: ## make generated files anew
	go generate ./...
	go test . -run '^TestDepguard' -update

.PHONY: check-format
check-format: $(GOLANGCI) ## fail where `make fmt` would change something
	$(GOLANGCI) fmt --diff

.PHONY: check-modules
check-modules: ## fail where go.mod, go.sum or a downloaded module is not as it should be
	go mod tidy -diff
	go mod verify

.PHONY: check-generated
check-generated: ## fail where `make generate` would change something
	scripts/unchanged $(MAKE) generate

.PHONY: tools
tools: $(GOLANGCI) ## install the pinned tools into bin/tools

# Built from source by its module's own checksums; about a minute once, seconds
# from Go's build cache.
$(GOLANGCI):
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

.PHONY: clients
clients: ## install the real clients that the tests drive (npm, 440 MB)
	@if command -v npm >/dev/null; then $(MAKE) $(CLIENTS) || [[ "$${CI:-}" != true ]]; \
	else echo 'npm is missing: the tests of the real clients will be skipped'; [[ "$${CI:-}" != true ]]; fi

$(CLIENTS): test/clients/package-lock.json
	cd test/clients && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

.PHONY: clean
clean: ## remove what was built and installed here; ./data stays
	rm -rf bin test/clients/node_modules
